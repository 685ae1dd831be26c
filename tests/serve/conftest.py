"""A small model, pictures, and a real server on a free port."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import http.client
import io
import os
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model import architecture, artifact, weights
from model.preprocess import Preprocessing

from .graphs import add_graph

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "docker" / "bin" / "serve"
CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")


def exit_code_in_a_fork(action: Callable[[], object], seconds: int = 60) -> int:
    """Of a forked process, as workers are, that does this only; SIGALRM's after `seconds`."""
    child = os.fork()
    if child == 0:  # which must never come back from here: it would run the remaining tests
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            gc.disable()  # what earlier tests left to OpenVINO's threads, which are not in the fork
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def make_model(
    folder: Path,
    arch: str = "resnet18",
    size: int = 64,
    classes: tuple[str, ...] = CLASSES,
    *,
    graph: bool = True,
) -> Path:
    """An artifact with lively batch normalisation, so that folding it wrongly shows.

    Without `graph`, as an older trainer left it.
    """
    torch.manual_seed(0)
    module = architecture.build(arch, len(classes)).eval()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)  # type: ignore[operator, union-attr]
            layer.running_var.uniform_(0.5, 1.5)  # type: ignore[operator, union-attr]
            torch.nn.init.uniform_(layer.weight, 0.4, 1.1)
            torch.nn.init.normal_(layer.bias, 0, 0.1)
    weights.save(folder, module, artifact.ModelInfo(arch, classes, Preprocessing.for_size(size)))
    return add_graph(folder) if graph else folder


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def picture(seed: int = 0, width: int = 90, height: int = 70) -> Image.Image:
    """Coarse random colours: no two seeds get the same answer."""
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Server:
    """`serve` as a user starts it."""

    def __init__(self, base: Path, log: Path, program: Path = PROGRAM, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.log_path = log
        settings = {
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "BYOC_WORKERS": "2",
        }
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [program],
                env=os.environ | settings | environment,
                stdout=output,
                stderr=output,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def invoke(self, body: bytes, content_type: str = "image/png", **headers: str) -> Answer:
        return self.request("POST", "/invocations", body, content_type=content_type, **headers)

    def ping(self) -> int:
        """The status, 0 if nothing listens."""
        try:
            return self.request("GET", "/ping").status
        except OSError:
            return 0

    def wait_until_healthy(self, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while self.ping() != 200:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def processes(self) -> list[int]:
        """Java and Python processes of this server, found by their environment."""
        mark = f"SAGEMAKER_BIND_TO_PORT={self.port}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return sorted(found)

    def children(self, parent: int) -> list[int]:
        """Of the supervisor: Java; of Java: the process with the model; of that: the workers."""
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                if stat[0] != "Z" and int(stat[1]) == parent:
                    found.append(pid)
        return found

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base with space") / "model")


@pytest.fixture
def start(model_dir: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def begin(base: Path | None = None, program: Path = PROGRAM, **environment: str) -> Server:
        log = tmp_path / f"log{len(servers)}"
        servers.append(Server(base or model_dir.parent, log, program, **environment))
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not end it."""
    running = Server(model_dir.parent, tmp_path_factory.mktemp("shared") / "log")
    try:
        running.wait_until_healthy()
        yield running
    finally:
        running.stop()
