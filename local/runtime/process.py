"""The process runtime: an image's commands as plain processes, `SAGEMAKER_BASE_DIR` in place of /opt/ml."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from local.runtime import optml
from local.runtime.container import ContainerSpec, LineReader, Running, RuntimeProblem, map_path
from local.runtime.lines import Lines
from local.runtime.ports import Ports

_GUARD = Path(__file__).with_name("guard.py")

# All that a job sees of the environment in which the service was started. A container sees nothing of it;
# a process needs the machine's paths, devices, proxies and certificates, and must not get credentials.
_INHERITED = (
    "PATH",
    "LANG",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "BYOC_PYTHON",
    "TORCH_HOME",
)
_READ_SIZE = 64 * 1024


class ProcessContainer(Running):
    """A command under guard (`guard.py`), and the thread that reads its output."""

    def __init__(
        self, process: subprocess.Popen[bytes], name: str, scratch: str, port: int | None, ports: Ports
    ) -> None:
        super().__init__(name, port)
        self._process = process
        self._scratch = scratch
        self._ports = ports
        self._order_lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Of the guard."""
        return self._process.pid

    def terminate(self) -> None:
        self._order(b"T")

    def kill(self) -> None:
        self._order(b"K")

    def _order(self, order: bytes) -> None:
        with self._order_lock, contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(order)

    def follow(self, on_line: LineReader) -> None:
        """Reads the output to its end, then collects the exit code."""
        assert self._process.stdout is not None
        # What a killed guard leaves behind would keep the output open.
        threading.Thread(target=self._mop_up, name=f"guard {self._name}", daemon=True).start()
        lines = Lines(on_line, self._name)
        with self._process.stdout as stream:
            while block := os.read(stream.fileno(), _READ_SIZE):
                lines.feed(block)
        lines.end()
        code = self._process.wait()
        with self._order_lock:
            assert self._process.stdin is not None
            self._process.stdin.close()
        if self.port is not None:
            self._ports.release(self.port)
        # A guard that was killed itself counts as a killed command.
        self.end(code if code >= 0 else 128 - code)

    def _mop_up(self) -> None:
        """Does the guard's work where the guard was killed itself: by the user, or for want of memory."""
        if self._process.wait() >= 0:
            return
        for _ in range(10):  # who is killed may have started another one
            living = [process for process in psutil.process_iter() if _is_inside(process, self._scratch)]
            for process in living:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            if not living:
                break
            psutil.wait_procs(living, timeout=1)
        shutil.rmtree(self._scratch, ignore_errors=True)


class ProcessRuntime:
    """Runs `FOLDER/command` of the folder that `images` names for an image.

    `images` maps the last component of an image reference, without tag and digest, to a folder.
    `home` is the service's; what jobs download and may share (weights) is cached there.
    """

    multi_host = False

    def __init__(self, images: Mapping[str, Path], home: Path) -> None:
        self._images = dict(images)
        self._home = home
        self._ports = Ports()
        self._lock = threading.Lock()
        self._living: set[ProcessContainer] = set()
        self._closed = False

    def check(self, image: str, command: str | None) -> None:
        self._folder(image)
        if command is not None:
            self._command(image, command)

    def inside(self, base: Path, path: str) -> str:
        return str(self.outside(base, path))

    def outside(self, base: Path, path: str) -> Path:
        # Beside /opt/ml there is no private file system; such paths go into a folder of their own.
        return Path(map_path(path, str(base), str(base / ".outside")))

    def reach(self, url: str) -> str:
        return url

    def hosts(self) -> frozenset[str]:
        return frozenset()

    def keep_network(self, name: str | None) -> Callable[[], None]:
        return lambda: None  # processes have the machine's

    def start(self, spec: ContainerSpec, on_line: LineReader) -> ProcessContainer:
        environment = self._environment(spec)
        if spec.entrypoint:
            # What a container would find first: the image's commands, and its Python.
            own = [str(self._folder(spec.image)), str(Path(environment["BYOC_PYTHON"]).parent)]
            environment["PATH"] = os.pathsep.join([*own, environment.get("PATH", os.defpath)])
            command = [sys.executable, "-I", "-S", optml.__file__, str(spec.base), *spec.entrypoint]
        else:
            command = [str(self._command(spec.image, spec.command))]
        port = None
        if spec.listen:
            port = self._ports.take()
            environment["SAGEMAKER_BIND_TO_PORT"] = str(port)
        # Short, because Unix sockets are made in it and their paths have about 100 characters. The guard
        # makes it, and removes it whatever happens to the service.
        scratch = str(Path(tempfile.gettempdir()) / f"byoc-{secrets.token_hex(5)}")
        environment["TMPDIR"] = environment["HOME"] = scratch
        environment.update(spec.environment)
        arguments = [
            _replace_mounts(argument, {path: str(folder) for path, folder in spec.mounts.items()})
            for argument in spec.arguments
        ]
        with self._lock:
            if self._closed:
                self._release(port)
                raise RuntimeProblem("The local SageMaker is shutting down.")
            try:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_GUARD), scratch, *command, *arguments],
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    # Ctrl-C in the service's terminal is the service's to handle.
                    start_new_session=True,
                )
            except OSError as error:
                self._release(port)
                raise RuntimeProblem(f"Cannot start {command[0]}: {error.strerror}.") from error
            container = ProcessContainer(process, spec.name, scratch, port, self._ports)
            self._living.add(container)

        def follow() -> None:
            try:
                container.follow(on_line)
            finally:
                with self._lock:
                    self._living.discard(container)

        threading.Thread(target=follow, name=f"output {spec.name}", daemon=True).start()
        return container

    def _release(self, port: int | None) -> None:
        if port is not None:
            self._ports.release(port)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            living = list(self._living)
        for container in living:
            container.kill()
        for container in living:
            container.wait(timeout=10)

    def _folder(self, image: str) -> Path:
        name = image_name(image)
        # In ECR, byoc's images are called sagemaker-byoc-…: so AmazonSageMakerFullAccess may write them.
        folder = self._images.get(name) or self._images.get(name.removeprefix("sagemaker-"))
        if folder is None:
            names = ", ".join(sorted(self._images)) or "none"
            raise RuntimeProblem(
                f"No image {name!r} ({image}) on this machine in process mode; known: {names}. "
                f"Start the local SageMaker with --image {name}=FOLDER, a folder with the image's commands."
            )
        return folder.absolute()

    def _command(self, image: str, command: str) -> Path:
        executable = self._folder(image) / command
        if not os.access(executable, os.X_OK) or executable.is_dir():
            raise RuntimeProblem(
                f"Image {image_name(image)!r} has no command {command!r}: {executable} is not executable."
            )
        return executable

    def _environment(self, spec: ContainerSpec) -> dict[str, str]:
        environment = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        environment.setdefault("BYOC_PYTHON", sys.executable)  # jobs run with the service's packages
        environment.setdefault("LANG", "C.UTF-8")
        environment["no_proxy"] = environment["NO_PROXY"] = "127.0.0.1,localhost"
        environment["XDG_CACHE_HOME"] = str(self._home / "cache")
        environment["SAGEMAKER_BASE_DIR"] = str(spec.base)
        # The toolkit would wait for the host names in resourceconfig.json to resolve; no other effect.
        environment["SM_STUDIO_LOCAL_MODE"] = "true"
        if spec.cores is not None:
            environment["OMP_NUM_THREADS"] = str(spec.cores)
        return environment


def _is_inside(process: psutil.Process, scratch: str) -> bool:
    """Whether the process was started by a command whose private folder is `scratch`."""
    try:
        return scratch in process.environ().values()  # TMPDIR and HOME
    except psutil.Error:
        return False  # another user's, or over


def remove_leftovers(home: Path) -> list[str]:
    """Kills what jobs of `home` left where both the service and a guard were killed; says what."""
    this = psutil.Process()
    spared = {this, *this.parents()}  # whoever asks may have a job's environment, in a shell say
    removed = []
    for process in psutil.process_iter():
        if process in spared:
            continue
        with contextlib.suppress(psutil.Error):
            base = process.environ().get("SAGEMAKER_BASE_DIR", "")
            if Path(base).is_relative_to(home / "jobs"):
                removed.append(f"process {process.pid} ({process.name()})")
                process.kill()
    return removed


def image_name(image: str) -> str:
    """`account.dkr.ecr.region.amazonaws.com/team/byoc-train:1.2@sha256:…` → `byoc-train`."""
    return image.rpartition("/")[2].partition("@")[0].partition(":")[0]


def _replace_mounts(argument: str, mounts: Mapping[str, str]) -> str:
    """A container's path in an argument as the folder that it stands for."""
    for path, folder in mounts.items():
        if argument == path or argument.startswith(path + "/"):
            return folder + argument[len(path) :]
    return argument
