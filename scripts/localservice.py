"""The local SageMaker as a background process: started, asked for its health, stopped.

It is the program `python -m local`; this module knows its command line and `GET /health`, nothing else of it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from scripts.errors import FAILED, ByocError
from scripts.state import write_json

DEFAULT_PORT = 5757
_START_SECONDS = 60.0
_STOP_SECONDS = 150.0  # jobs get 120 s to end
_STARTED: list[subprocess.Popen[bytes]] = []  # outlive this process; held so that Python does not complain


@dataclass(frozen=True)
class Service:
    """A running local SageMaker."""

    pid: int
    port: int
    home: str
    version: str = ""
    runtime: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "url": self.url}


def health(port: int, timeout: float = 2.0) -> Service | None:
    """The service that answers on this port; None where nothing of ours does."""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
        with opener.open(f"http://127.0.0.1:{port}/health", timeout=timeout) as answer:
            found = json.load(answer)
        if found.get("service") != "byoc-local":
            return None
        return Service(int(found["pid"]), port, str(found["home"]), found["version"], found["runtime"])
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def up(
    home: Path, port: int, runtime: str = "process", arguments: Sequence[str] = ()
) -> tuple[Service, bool]:
    """Start the service, or find it running; returns it, and whether it was started now.

    Raises:
        ByocError: the port belongs to something else, or the service does not come up (with its last words).
    """
    home = home.resolve()
    if other := status(home):
        if other.port == port and health(port):
            return other, False
        raise ByocError(
            f"The local SageMaker of {home} runs already, at {other.url}.",
            "Use that address, or stop it first: `byoc local down`.",
            code=FAILED,
            kind="AlreadyRunning",
        )
    if running := health(port):
        if Path(running.home).resolve() != home:
            raise ByocError(
                f"Another local SageMaker, of {running.home}, answers on port {port}.",
                "Stop it from its own folder, or choose another port with --port.",
                code=FAILED,
                kind="PortInUse",
            )
        return running, False
    if not _free(port):
        raise ByocError(
            f"Port {port} is in use by another program.",
            f"Choose another one: `byoc local up --port {free_port()}`.",
            code=FAILED,
            kind="PortInUse",
        )
    home.mkdir(parents=True, exist_ok=True)
    log = home / "service.log"
    command = [sys.executable, "-m", "local", "--port", str(port), "--home", str(home), "--runtime", runtime]
    process: subprocess.Popen[bytes] | None = None
    try:
        with _no_interrupt(), log.open("ab") as file:
            # A session of its own: Ctrl-C in this terminal is not meant for it.
            process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=home,  # a file local.py in the user's folder must not be taken for the service
                start_new_session=True,
            )
            write_json(_pid_file(home), {"pid": process.pid, "port": port})
        service = _until_healthy(process, port, log)
        _STARTED.append(process)
        return service, True
    except BaseException:
        if process is not None:
            _end(process.pid, process)
            _pid_file(home).unlink(missing_ok=True)
        raise


def _until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> Service:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ByocError(
                f"The local SageMaker ended at once with exit code {process.returncode}:\n{_tail(log)}",
                f"All of it is in {log}.",
                code=FAILED,
                kind="ServiceFailed",
            )
        if found := health(port):
            return found
        time.sleep(0.1)
    raise ByocError(
        f"The local SageMaker did not answer within {_START_SECONDS:.0f} s:\n{_tail(log)}",
        f"All of it is in {log}.",
        code=FAILED,
        kind="ServiceFailed",
    )


def down(home: Path) -> Service | None:
    """Stop the service of `home` and wait until it is gone, jobs and endpoints with it; None if none ran."""
    home = home.resolve()
    found = status(home)
    if found is None:
        _pid_file(home).unlink(missing_ok=True)
        return None
    _end(found.pid)
    _pid_file(home).unlink(missing_ok=True)
    return found


def status(home: Path) -> Service | None:
    """The service of `home`, whether it answers already or not."""
    home = home.resolve()
    try:
        noted = json.loads(_pid_file(home).read_text())
        pid, port = int(noted["pid"]), int(noted["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not _is_service(pid, home):
        return None
    answering = health(port)
    # What answers on the port is believed only where it is the process that was started here.
    return answering if answering and answering.pid == pid else Service(pid, port, str(home))


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _pid_file(home: Path) -> Path:
    return home / "service.json"


def _is_service(pid: int, home: Path) -> bool:
    """Whether the process is alive and ours: a number from an old file may belong to anybody by now."""
    if pid <= 0 or not _alive(pid):
        return False
    try:
        command = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))
    except OSError:  # no /proc, as on macOS
        command = subprocess.run(
            ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    return " -m local " in command and f" --home {home} " in command


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # where no init reaps them, ended processes stay visible as zombies
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def _end(pid: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """SIGTERM, then patience, then SIGKILL for the whole session."""

    def gone() -> bool:
        return process.poll() is not None if process else not _alive(pid)

    try:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while not gone() and time.monotonic() < deadline:
            time.sleep(0.05)
        if not gone():
            os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    while not gone():
        time.sleep(0.05)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C takes effect after the block, so that a process is never started and lost."""
    came: list[tuple[int, FrameType | None]] = []
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    except ValueError:  # not the main thread: signals do not come here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(*came[0])


def _tail(log: Path, lines: int = 15) -> str:
    try:
        text = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text)
