"""Servers to measure: ours, and others in the way that their documentation shows."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import load

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).parent / "peers"


@dataclasses.dataclass
class Running:
    """A server that answers. `started`: seconds until it first said that it is healthy."""

    name: str
    port: int
    path: str = "/invocations"
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    container: Any = None
    ping: str = "/ping"
    takes_forms: bool = False

    def post(self, picture: bytes) -> bytes:
        """The request that asks about a picture."""
        if not self.takes_forms:
            return load.post(picture, self.path)
        head = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n'
        body = head + b"Content-Type: image/jpeg\r\n\r\n" + picture + b"\r\n--b--\r\n"
        return load.post(body, self.path, Content_Type="multipart/form-data; boundary=b")

    def stop(self) -> None:
        if self.container is not None:
            self.container.stop(timeout=30)  # and removed, as it was started so
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def memory_mb(self) -> float:
        """Proportional memory of all its processes (shared pages are counted once)."""
        mark = f"BENCH_PORT={self.port}".encode()
        total = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    line = next(
                        x for x in (folder / "smaps_rollup").read_text().splitlines() if x.startswith("Pss:")
                    )
                    total += int(line.split()[1])
            except (OSError, StopIteration):
                continue
        return total / 1024


_candidates = iter(range(20000 + os.getpid() % 5000, 32000, 7))


def free_port() -> int:
    """One that was not given before. multi-model-server refuses ports above 32767."""
    for port in _candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def end_on_sigterm() -> None:
    """Let `finally` run when `timeout` ends a bench, so that no server stays behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def launch(
    name: str,
    command: list[str],
    environment: dict[str, str],
    port: int,
    path: str,
    log: Path,
    ping: str = "/ping",
) -> Running:
    """Start, and wait for `ping` to answer 200."""
    begin = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | environment | {"BENCH_PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=log.parent,
        )
    running = Running(name, port, path, process, ping=ping)

    def ended() -> str | None:
        return None if process.poll() is None else log.read_text(errors="replace")[-800:]

    return _healthy(running, begin, ended)


def _healthy(running: Running, begin: float, ended: Callable[[], str | None]) -> Running:
    """Once /ping is 200. `ended`: the last words of a server that has ended, else None."""
    while time.perf_counter() - begin < 120:
        if (words := ended()) is not None:
            raise RuntimeError(f"{running.name} ended: {words}")
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{running.port}{running.ping}", timeout=5
            ) as response:
                if response.status == 200:
                    running.started = time.perf_counter() - begin
                    return running
        except OSError:
            pass
        time.sleep(0.02)
    running.stop()
    raise RuntimeError(f"{running.name} was not healthy after two minutes")


def container(name: str, base: Path, image: str) -> Running | str:
    """The serving image, started as SageMaker does; where that cannot be, why."""
    import docker

    try:
        engine = docker.from_env()
        engine.images.get(image)
    except docker.errors.ImageNotFound:
        return f"there is no image {image}: make build-serve"
    except docker.errors.DockerException:
        return "no Docker engine answers"
    port = free_port()
    begin = time.perf_counter()
    started = engine.containers.run(
        image, "serve", detach=True, remove=True, ports={"8080/tcp": ("127.0.0.1", port)},
        environment={"BENCH_PORT": str(port)},
        volumes={str(base / "model"): {"bind": "/opt/ml/model", "mode": "ro"}},
    )  # fmt: skip

    def ended() -> str | None:
        try:
            started.reload()
        except docker.errors.NotFound:
            return "it was removed; see `docker run` by hand for why"
        return None

    return _healthy(Running(name, port, container=started), begin, ended)


def ours(name: str, base: Path, log: Path, root: Path = ROOT, **environment: str) -> Running:
    """The serve command in process mode, of the sources in `root`."""
    port = free_port()
    settings = {"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(port)}
    settings["BYOC_PYTHON"] = sys.executable
    return launch(name, [str(root / "docker/bin/serve")], settings | environment, port, "/invocations", log)


def sources_of(commit: str, folder: Path) -> Path:
    """The repository as it was at a commit, to measure beside today's."""
    folder.mkdir()
    packed = subprocess.run(["git", "-C", ROOT, "archive", commit], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=packed, check=True)
    return folder


def textbook_mms(base: Path, work: Path, workers: int) -> Running:
    """multi-model-server as it is, with a handler as tutorials write it."""
    port = free_port()
    model = work / "mms-model"
    model.mkdir(parents=True)
    for name in ("model.json", "model.safetensors"):
        (model / name).symlink_to(base / "model" / name)
    (model / "textbook.py").write_text((PEERS / "textbook.py").read_text())
    (work / "mms.properties").write_text(
        f"inference_address=http://127.0.0.1:{port}\nmanagement_address=http://127.0.0.1:{port}\n"
        f"default_workers_per_model={workers}\ndecode_input_request=false\nmodel_store={work}\n"
        "default_service_handler=textbook:handle\n"
    )
    import mms

    jar = Path(mms.__file__).parent / "frontend" / "model-server.jar"
    # The command that the wrapper `multi-model-server --start` builds, without its detour.
    command = ["java", f"-Djava.io.tmpdir={work}", f"-DLOG_LOCATION={work}", f"-DMETRICS_LOCATION={work}"]
    command += ["-cp", str(jar), "com.amazonaws.ml.mms.ModelServer", "--mms-config-file"]
    command += [str(work / "mms.properties"), "-m", f"model={model.name}"]
    environment = {
        "PYTHONPATH": f"{model}:{ROOT}:{Path(mms.__file__).parent.parent}",
        "MMS_PYTHON": sys.executable,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MODEL_SERVER_HOME": str(Path(mms.__file__).parent.parent),
        "TEMP": str(work),
    }
    return launch("textbook MMS", command, environment, port, "/invocations", work / "mms.log")


def torchserve(base: Path, work: Path, workers: int, python: Path) -> Running:
    """TorchServe with one thread a worker (its default makes as many as there are cores, in each)."""
    port, store = free_port(), work / "store"
    store.mkdir()
    subprocess.run(
        [python.parent / "torch-model-archiver", "--model-name", "model", "--version", "1", "--handler",
         PEERS / "torchserve_handler.py", "--extra-files",
         f"{base / 'model/model.json'},{base / 'model/model.safetensors'},{PEERS / 'textbook.py'}",
         "--export-path", store],
        check=True,
    )  # fmt: skip
    (work / "ts.properties").write_text(
        f"inference_address=http://127.0.0.1:{port}\nmanagement_address=http://127.0.0.1:{free_port()}\n"
        f"metrics_address=http://127.0.0.1:{free_port()}\ngrpc_inference_port={free_port()}\n"
        f"grpc_management_port={free_port()}\ndefault_workers_per_model={workers}\n"
        f"disable_token_authorization=true\nmodel_store={store}\nload_models=model.mar\n"
    )
    environment = {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "LOG_LOCATION": str(work),
        "METRICS_LOCATION": str(work),
        "TEMP": str(work),
    }
    command = [str(python.parent / "torchserve"), "--start", "--foreground", "--ncs", "--disable-token-auth"]
    command += [
        "--model-store",
        str(store),
        "--models",
        "model.mar",
        "--ts-config",
        str(work / "ts.properties"),
    ]
    return launch("TorchServe", command, environment, port, "/predictions/model", work / "ts.log")


def others(base: Path, work: Path, workers: int, python: Path) -> Iterator[Running]:
    """Servers that run our decoding and OpenVINO, in the precision that ours takes by itself."""
    uvicorn = f"-m uvicorn fastapi_app:app --workers {workers} --log-level warning"
    for name, command, path, ping in (
        ("FastAPI", uvicorn, "/invocations", "/ping"),
        ("mosec", f"{PEERS}/mosec_app.py --address 127.0.0.1", "/inference", "/"),
        ("LitServe", f"{PEERS}/litserve_app.py", "/invocations", "/ping"),
        ("BentoML", "-m bentoml serve bento_app:Classify --host 127.0.0.1", "/invocations", "/livez"),
    ):
        port = free_port()
        ending = [] if name == "LitServe" else ["--port", str(port)]
        environment = {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{PEERS}:{ROOT}",
            "BENCH_MODEL": str(base / "model"),
            "BENCH_WORKERS": str(workers),
            "BENTOML_DO_NOT_TRACK": "True",
        }
        full = [str(python), *command.split(), *ending]
        running = launch(name, full, environment, port, path, work / f"{name}.log", ping)
        running.takes_forms = name == "LitServe"
        yield running
