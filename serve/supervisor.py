"""PID 1 of the serving container: starts multi-model-server, watches it, and leaves nothing behind.

`serve` ends with status 0 after SIGTERM or SIGINT, when every accepted request has its answer. It ends with
status 1 and one sentence on stderr when the model cannot be loaded or serving is lost; the platform then
starts a new container.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from serve import java, mms, process, s3
from serve import settings as settings_
from serve.errors import ServeError, printable
from serve.events import Inbox
from serve.metrics import Records
from serve.settings import Limits, Settings

_POLL_SECONDS: Final = 0.25
_KILL_SECONDS: Final = 3.0  # on top of the drain: 25 + 3 stays under SageMaker's 30
_PREFIX: Final = "byoc-serve-"
# Unix sockets have names of at most 107 bytes; multi-model-server's are /.mms.sock.9000 in this folder.
_MAX_FOLDER: Final = 80

# By which SageMaker's SDKs make other images run a script of the user's.
_OTHER_PROGRAMS: Final = ("SAGEMAKER_PROGRAM", "SAGEMAKER_SUBMIT_DIRECTORY")


def main() -> int:
    """Returns the exit status."""
    try:
        settings = settings_.read(os.environ)
        s3.check(settings.limits)
        if ignored := [name for name in _OTHER_PROGRAMS if os.environ.get(name)]:
            say(f"ignored: {', '.join(ignored)}; this image runs its own handler, never code from elsewhere")
        runtime, number = java.find(os.environ)
        with private_folder() as private:
            return Supervisor(settings, private).run(runtime, number)
    except ServeError as error:
        say(str(error))
        return 1


def say(text: str) -> None:
    """One line for the operator; line breaks in a message would make several."""
    with contextlib.suppress(OSError):
        print(f"serve: {printable(text)}", file=sys.stderr, flush=True)


class Supervisor:
    def __init__(self, settings: Settings, private: Path) -> None:
        self.settings = settings
        self.private = private
        self.java = 0  # its process id, which is also its group's
        self.java_status: int | None = None
        self.model_process = 0  # the one that loaded the model and that workers are forked from
        self.deadline: float | None = None  # set when stopping
        self.failure: str | None = None
        self.loaded = False
        self.records: Records | None = None

    def run(self, runtime: Path, number: int) -> int:
        """Start, watch, stop. Returns the exit status."""
        process.adopt_orphans()
        inbox = Inbox(self.private / "events")
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(name, self._signalled)
        try:
            self._start(runtime, number)
            with selectors.DefaultSelector() as selector:
                selector.register(inbox, selectors.EVENT_READ)
                selector.register(wake, selectors.EVENT_READ)
                if self.records is not None:
                    selector.register(self.records, selectors.EVENT_READ)
                while self.java_status is None and self.failure is None:
                    selector.select(_POLL_SECONDS)
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 4096)
                    for event in inbox.receive():
                        self._received(event)
                    if self.records is not None and not self.records.receive():
                        selector.unregister(self.records)
                        self.records.close()
                        self.records = None
                    self._look()
            return self._result()
        finally:
            self._kill_all()
            if self.records is not None:
                self.records.receive()
                self.records.close()
            inbox.close()

    def _start(self, runtime: Path, number: int) -> None:
        (self.private / "store" / "model").mkdir(parents=True)
        mms.write_properties(self.private / "mms.properties", mms.properties(self.settings, self.private))
        supervisor = os.getpid()
        records = subprocess.PIPE if mms.wants_records(self.settings) else None
        child = subprocess.Popen(
            mms.command(self.settings, self.private, runtime, number),
            env=mms.environment(self.settings, self.private, os.environ),
            cwd=self.private,
            stdin=subprocess.DEVNULL,
            stdout=records,
            start_new_session=True,  # Ctrl-C in a terminal is for the supervisor alone
            preexec_fn=lambda: process.die_with_parent(supervisor),  # noqa: PLW1509 (there is one thread)
        )
        self.java = child.pid
        if child.stdout is not None:
            self.records = Records(child.stdout, self.settings.log_requests, self.settings.metrics_seconds)
        child.returncode = 0  # reaped by _look; without this, Popen warns that it still runs

    def _signalled(self, number: int, _frame: object) -> None:
        if number == signal.SIGCHLD or self.deadline is not None:
            return
        self.deadline = time.monotonic() + self.settings.drain_seconds + _KILL_SECONDS
        if self.loaded:
            self._signal_java(signal.SIGTERM)  # its shutdown hook drains
        else:
            self.deadline = time.monotonic()

    def _received(self, event: Mapping[str, Any]) -> None:
        kind = event.get("kind")
        if kind == "started":
            self.model_process = int(event["pid"])
        elif kind == "loaded" and not self.loaded:
            self.loaded = True
            settings = self.settings
            where = f"listening on {settings.address}:{settings.port}"
            if settings.limits.pixels < Limits.pixels:
                where += f"; pictures of up to {settings.limits.pixels} pixels (BYOC_MAX_PIXELS)"
            say(f"{event['message']}; {settings.workers} workers; {where}")
        elif kind == "failed":
            self.failure = f"the model cannot be served: {event['message']}"

    def _look(self) -> None:
        """Reap what has ended, and notice what should not have."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self.java:
                self.java_status = os.waitstatus_to_exitcode(status)
        if self.deadline is not None:
            if time.monotonic() >= self.deadline and self.java_status is None:
                self._signal_java(signal.SIGKILL)
        elif self.java_status is None and self.model_process and not process.alive(self.model_process):
            what = "serving is lost"
            if not self.loaded:
                what = "the model was not loaded (not enough memory? else try BYOC_PRECISION=fp32)"
            self.failure = f"the process that holds the model has died; {what}"

    def _result(self) -> int:
        if self.failure is not None:
            say(self.failure)
            return 1
        if self.deadline is not None:
            return 0
        say(f"the HTTP server has ended (status {self.java_status}); serving is lost")
        return 1

    def _signal_java(self, number: signal.Signals) -> None:
        if self.java and self.java_status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.java, number)

    def _kill_all(self) -> None:
        """End Java, the workers and whatever they started, and wait until all have gone."""
        if not self.java:
            return
        while True:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.java, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for sockets, pipes and the properties file: locked, readable by us alone, removed in the end.

    Raises:
        ServeError: if no place for temporary files can be written to.
    """
    for place in _places():
        _remove_stale(place)
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place)).resolve()
        except OSError:
            continue
        if len(str(folder)) > _MAX_FOLDER:
            folder.rmdir()
            continue
        try:
            with (folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    raise ServeError("there is no folder for temporary files: /tmp cannot be written to; set TMPDIR")


def _places() -> list[Path]:
    places = [Path(name) for name in ("/tmp", "/dev/shm")]  # noqa: S108 (mkdtemp makes a private one in it)
    with contextlib.suppress(FileNotFoundError):
        places.insert(0, Path(tempfile.gettempdir()))
    return places


def _remove_stale(place: Path) -> None:
    """What a supervisor that was killed has left: its lock is free."""
    for folder in place.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
