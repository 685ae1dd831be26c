"""The local SageMaker as a background process: started and stopped; `scripts.localstatus` asks who answers.

It is the program `python -m local`; these two know its command line and `GET /health`, nothing else of it.
`scripts.spot` knows its interruption of a spot job.
"""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from contract.errors import BAD_INPUT, FAILED, UNREACHABLE, ByocError
from scripts.localstatus import (
    PATIENCE,
    Service,
    alive,
    another,
    free_port,
    hangs,
    health,
    how_to_stop,
    is_service,
    last_words,
    note,
    started,
    status,
    unreachable,
)
from scripts.state import write_json

DEFAULT_PORT = 5757
_LAST = "up.json"  # of the home: the setup that came up last; unlike the note it outlives `down`
_EXTRAS = {"local": "moto", "train": "sagemaker_training", "serve": "mms"}  # and a module of each
_STARTED: list[subprocess.Popen[bytes]] = []  # outlive this process; held so that Python does not complain


@dataclass(frozen=True)
class Timing:
    """For how many seconds the service is waited for."""

    start: float = 60.0
    stop: float = 150.0
    """Jobs get 120 s to end, and meanwhile it goes on answering."""
    hang: float = 10.0
    sweep: float = 120.0
    """It gives up an engine that hangs by itself, and much sooner."""


_TIMING = Timing()


@dataclass(frozen=True)
class Setup:
    """What jobs run in. `images`: further ones of the process runtime, each as NAME=DIR with a whole path.

    `train_image`: whose command `rules` the service uses; empty for the service's default.
    `spot_interruptions`: of a spot job, by chance, per hour of training.
    """

    runtime: str = "process"
    images: tuple[str, ...] = ()
    train_image: str = ""
    spot_interruptions: float = 0.0

    def arguments(self) -> list[str]:
        """Options of `python -m local`, and of `up`."""
        images = (part for image in self.images for part in ("--image", image))
        rules = ["--train-image", self.train_image] if self.train_image else []
        spot = ["--spot-interruptions", f"{self.spot_interruptions:g}"] if self.spot_interruptions else []
        return ["--runtime", self.runtime, *images, *rules, *spot]

    def __str__(self) -> str:
        return shlex.join(self.arguments())


@dataclass(frozen=True)
class Stopped:
    """What `down` has done. `removed`: what a service that was killed had left.

    `problem`: why more may be left, in one sentence; empty where nothing is. `killed`: whether the service
    had to be.
    """

    service: Service | None = None
    removed: tuple[str, ...] = ()
    problem: str = ""
    killed: bool = False


def last(home: Path) -> Setup | None:
    """The setup that the service of `home` came up with last; None where it never did."""
    try:
        last_settings = json.loads((home / _LAST).read_text())
        images = tuple(map(str, last_settings["images"]))
        return Setup(
            str(last_settings["runtime"]),
            images,
            str(last_settings.get("train_image", "")),
            float(last_settings.get("spot_interruptions", 0.0)),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def up(
    home: Path, port: int, setup: Setup | None = None, *, timing: Timing = _TIMING
) -> tuple[Service, bool]:
    """Start the service, or find it running; returns it, and whether it was started now.

    Without `setup` it comes up as last time: its endpoints were made for that.

    Raises:
        ByocError: it runs already at another port or with another setup, the port belongs to something else,
            the home cannot be written, or the service does not come up (with its last words).
    """
    home = home.resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with (home / "up.lock").open("a") as lock:
            # A second `up` waits for the first, and finds what that has started.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if running := _running(home, port, timing):
                _expect(home, running, setup)
                return running, False
            setup = setup or last(home) or Setup()
            _check_installed(setup.runtime)
            return _start(home, port, setup, timing), True
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise ByocError(
            f"The local SageMaker cannot write to {home}: {error.strerror}.",
            "Its data lies beside byoc.toml: make that folder writable for you, or use another one.",
            code=FAILED,
            kind="NotWritable",
        ) from None


def _running(home: Path, port: int, timing: Timing) -> Service | None:
    """The service of `home`, if it runs at `port`; ByocError if it runs elsewhere, or something else does."""
    if other := status(home):
        if other.port != port:
            raise ByocError(
                f"The local SageMaker of {home} runs already, at {other.url}.",
                "Use that address, or stop it first: `byoc local down`.",
                kind="AlreadyRunning",
            )
        # An `up` that was killed may have left it, and it may still start.
        patience = PATIENCE if _came_up(home) else timing.start
        if answering := _first_answer(port, lambda: not alive(other.pid), patience):
            return answering
        raise unreachable(home, other.url)
    if running := health(port):
        if Path(running.home).resolve() != home:
            raise another(running, home, running.url)
        return running
    if not _free(port):
        raise ByocError(
            f"Port {port} is in use by another program.",
            f"Choose another one: `byoc local up --port {free_port()}`.",
            kind="PortInUse",
        )
    return None


def _came_up(home: Path) -> bool:
    """Whether the service of the note has been seen to answer."""
    try:
        return (home / _LAST).stat().st_mtime >= note(home).stat().st_mtime
    except OSError:
        return False


def _check_installed(runtime: str) -> None:
    """ByocError if the wheel was installed without what the service or its jobs need."""
    wanted = _EXTRAS if runtime == "process" else {"local": _EXTRAS["local"]}
    if missing := [extra for extra, module in wanted.items() if importlib.util.find_spec(module) is None]:
        raise ByocError(
            f"What the local SageMaker needs is not installed: {', '.join(missing)}.",
            f"Install it: `pip install 'byoc-sagemaker[{','.join(missing)}]'`; in a checkout, `make setup`.",
            code=FAILED,
            kind="NotInstalled",
        )


def _expect(home: Path, running: Service, setup: Setup | None) -> None:
    """ByocError if `setup` was asked for and the service runs with another one."""
    last_settings = last(home)
    runs = (
        last_settings
        if last_settings and last_settings.runtime == running.runtime
        else Setup(running.runtime)
    )
    if setup and setup != runs:
        raise ByocError(
            f"The local SageMaker of {home} runs already, with `{runs}`.",
            "Stop it first: `byoc local down`.",
            kind="AlreadyRunning",
        )


def _start(home: Path, port: int, setup: Setup, timing: Timing) -> Service:
    if started(home):
        _sweep(home, timing)
    log = home / "service.log"
    command = [sys.executable, "-m", "local", "--port", str(port), "--home", str(home), *setup.arguments()]
    process: subprocess.Popen[bytes] | None = None
    try:
        with _no_interrupt(), log.open("ab") as file:
            noted = {"port": port, "runtime": setup.runtime, "log": file.tell()}  # where its own words begin
            # A session of its own: Ctrl-C in this terminal is not meant for it.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=home,  # a file local.py in the user's folder must not be taken for the service
                start_new_session=True,
            )
            write_json(note(home), {"pid": process.pid, **noted})
        service = _until_healthy(process, port, log, noted, timing)
        write_json(home / _LAST, asdict(setup))
        _STARTED.append(process)
        return service
    except BaseException:
        if process is not None:
            _end(process.pid, port, timing, process)
            _forget(home)
        raise


def _until_healthy(
    process: subprocess.Popen[bytes], port: int, log: Path, noted: dict[str, Any], timing: Timing
) -> Service:
    if service := _first_answer(port, lambda: process.poll() is not None, timing.start):
        return service
    code = FAILED
    if process.returncode is None:
        reason = f"did not answer within {timing.start:.0f} s"
    else:
        reason = f"ended at once with exit code {process.returncode}"
        code = process.returncode if process.returncode in (BAD_INPUT, UNREACHABLE) else FAILED
    said = "\n".join(f"  {line}" for line in last_words(log, noted)[-15:])
    raise ByocError(
        f"The local SageMaker {reason}:\n{said}", f"All of it is in {log}.", code=code, kind="ServiceFailed"
    )


def _first_answer(port: int, over: Callable[[], bool], seconds: float) -> Service | None:
    """The service that starts at `port`, as soon as it answers. None: it is `over`, or time is up."""
    deadline = time.monotonic() + seconds
    while not over() and time.monotonic() < deadline:
        if service := health(port):
            return service
        time.sleep(0.1)
    return None


def _forget(home: Path) -> None:
    """Deletes the note, unless another `up` has written a new one by now."""
    process = started(home)
    if not process or not is_service(process["pid"], home):
        note(home).unlink(missing_ok=True)


def down(home: Path, port: int | None = None, *, timing: Timing = _TIMING) -> Stopped:
    """Stop the service of `home` and wait until it is gone, jobs and endpoints with it.

    `port`: where one that was not started by `up` may answer. What a killed service has left is removed.
    """
    home = home.resolve()
    running = status(home, port)
    if running is not None and not is_service(running.pid, home):
        raise ByocError(
            f"The local SageMaker of {home} was not started by `byoc local up`, but as process "
            f"{running.pid}.",
            f"Stop it by hand: {how_to_stop(running)}.",
            code=FAILED,
        )
    killed = running is not None and _end(running.pid, running.port, timing)
    removed, problem = _sweep(home, timing) if home.is_dir() else ([], "")
    _forget(home)
    return Stopped(running, tuple(removed), problem, killed)


def _sweep(home: Path, timing: Timing) -> tuple[list[str], str]:
    """Removes what a service left: what that was, and why more may be left."""
    if (
        importlib.util.find_spec(_EXTRAS["local"]) is None
    ):  # unless another environment's `byoc` was used here
        return [], "Install what is missing: `pip install 'byoc-sagemaker[local]'`." if started(home) else ""
    command = [sys.executable, "-m", "local", "--home", str(home), "--sweep"]
    try:
        done = subprocess.run(
            command, cwd=home, capture_output=True, text=True, check=False, timeout=timing.sweep
        )
    except subprocess.TimeoutExpired as late:
        removed = (late.stdout or b"").decode()  # bytes, in spite of text=True
        return removed.splitlines(), f"Removing it took longer than {timing.sweep:.0f} s."
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


def _end(pid: int, port: int, timing: Timing, process: subprocess.Popen[bytes] | None = None) -> bool:
    """SIGTERM, then patience as long as it answers, then SIGKILL: for its whole group, if it leads one.

    Returns whether it had to be killed.
    """

    def gone() -> bool:
        return process.poll() is not None if process else not alive(pid)

    try:
        leads = os.getpgid(pid) == pid  # one that was started by hand may be in another's
        send = os.killpg if leads else os.kill
        os.kill(pid, signal.SIGTERM)
        send(pid, signal.SIGCONT)  # one that was suspended would not notice
        deadline = time.monotonic() + timing.stop
        while not gone() and time.monotonic() < deadline and not hangs(port, timing.hang):
            time.sleep(0.05)
        if killed := not gone():
            send(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    while not gone():
        time.sleep(0.05)
    return killed


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
