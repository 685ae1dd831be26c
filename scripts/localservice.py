"""The local SageMaker as a background process: started and stopped; `scripts.localstatus` asks who answers.

It is the program `python -m local`; these two know its command line and `GET /health`, nothing else of it.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from scripts.errors import BAD_INPUT, FAILED, UNREACHABLE, ByocError
from scripts.localstatus import (
    Service,
    alive,
    another,
    free_port,
    health,
    how_to_stop,
    is_service,
    last_words,
    note,
    started,
    status,
)
from scripts.state import write_json

DEFAULT_PORT = 5757
_START_SECONDS = 60.0
_STOP_SECONDS = 150.0  # jobs get 120 s to end
_SWEEP_SECONDS = 120.0  # an engine that hangs takes a minute to be given up
_STARTED: list[subprocess.Popen[bytes]] = []  # outlive this process; held so that Python does not complain


@dataclass(frozen=True)
class Stopped:
    """What `down` has done. `removed`: what a service that was killed had left.

    `problem`: why more may be left, in one sentence; empty where nothing is.
    """

    service: Service | None = None
    removed: tuple[str, ...] = ()
    problem: str = ""


def up(
    home: Path, port: int, runtime: str = "process", arguments: Sequence[str] = ()
) -> tuple[Service, bool]:
    """Start the service, or find it running; returns it, and whether it was started now.

    Raises:
        ByocError: the port belongs to something else, the home cannot be written, or the service does not
            come up (with its last words).
    """
    home = home.resolve()
    if other := status(home):
        if other.port == port and health(port):
            return other, False
        raise ByocError(
            f"The local SageMaker of {home} runs already, at {other.url}.",
            "Use that address, or stop it first: `byoc local down`.",
            kind="AlreadyRunning",
        )
    if running := health(port):
        if Path(running.home).resolve() != home:
            raise another(running, home, running.url)
        return running, False
    if not _free(port):
        raise ByocError(
            f"Port {port} is in use by another program.",
            f"Choose another one: `byoc local up --port {free_port()}`.",
            kind="PortInUse",
        )
    try:
        return _start(home, port, runtime, arguments), True
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise ByocError(
            f"The local SageMaker cannot write to {home}: {error.strerror}.",
            "Its data lies beside byoc.toml: make that folder writable for you, or use another one.",
            code=FAILED,
            kind="NotWritable",
        ) from None


def _start(home: Path, port: int, runtime: str, arguments: Sequence[str]) -> Service:
    home.mkdir(parents=True, exist_ok=True)
    if started(home):
        _sweep(home)
    log = home / "service.log"
    command = [sys.executable, "-m", "local", "--port", str(port), "--home", str(home), "--runtime", runtime]
    process: subprocess.Popen[bytes] | None = None
    try:
        with _no_interrupt(), log.open("ab") as file:
            noted = {"port": port, "runtime": runtime, "log": file.tell()}  # where its own words begin
            # A session of its own: Ctrl-C in this terminal is not meant for it.
            process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=home,  # a file local.py in the user's folder must not be taken for the service
                start_new_session=True,
            )
            write_json(note(home), {"pid": process.pid, **noted})
        service = _until_healthy(process, port, log, noted)
        _STARTED.append(process)
        return service
    except BaseException:
        if process is not None:
            _end(process.pid, process)
            note(home).unlink(missing_ok=True)
        raise


def _until_healthy(process: subprocess.Popen[bytes], port: int, log: Path, noted: dict[str, Any]) -> Service:
    deadline = time.monotonic() + _START_SECONDS
    code = FAILED
    while process.poll() is None:
        if found := health(port):
            return found
        if time.monotonic() > deadline:
            reason = f"did not answer within {_START_SECONDS:.0f} s"
            break
        time.sleep(0.1)
    else:
        reason = f"ended at once with exit code {process.returncode}"
        code = process.returncode if process.returncode in (BAD_INPUT, UNREACHABLE) else FAILED
    said = "\n".join(f"  {line}" for line in last_words(log, noted)[-15:])
    raise ByocError(
        f"The local SageMaker {reason}:\n{said}", f"All of it is in {log}.", code=code, kind="ServiceFailed"
    )


def down(home: Path, port: int | None = None) -> Stopped:
    """Stop the service of `home` and wait until it is gone, jobs and endpoints with it.

    `port`: where one that was not started by `up` may answer. What a killed service has left is removed.
    """
    home = home.resolve()
    found = status(home, port)
    if found is not None and not is_service(found.pid, home):
        raise ByocError(
            f"The local SageMaker of {home} was not started by `byoc local up`, but as process {found.pid}.",
            f"Stop it by hand: {how_to_stop(found)}.",
            code=FAILED,
        )
    if found is not None:
        _end(found.pid)
    removed, problem = _sweep(home) if home.is_dir() else ([], "")
    if not problem:
        note(home).unlink(missing_ok=True)
    return Stopped(found, tuple(removed), problem)


def _sweep(home: Path) -> tuple[list[str], str]:
    """Removes what a service left: what that was, and why more may be left."""
    # The runtime says whether it matters if Docker does not answer.
    runtime = str(started(home).get("runtime", "process"))
    command = [sys.executable, "-m", "local", "--home", str(home), "--runtime", runtime, "--sweep"]
    try:
        done = subprocess.run(
            command, cwd=home, capture_output=True, text=True, check=False, timeout=_SWEEP_SECONDS
        )
    except subprocess.TimeoutExpired:
        return [], "The Docker engine hangs."
    problem = done.stderr.strip().rpartition("\n")[2].removeprefix("local: ") if done.returncode else ""
    return done.stdout.splitlines(), problem


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _end(pid: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """SIGTERM, then patience, then SIGKILL for the whole session."""

    def gone() -> bool:
        return process.poll() is not None if process else not alive(pid)

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
