"""Keeps a folder of a bucket equal to a folder of a running job."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path

from local.jobs.files import put_file, regular_files

INTERVAL = 1.0  # seconds between two looks at the job's folder


class Mirror:
    """Copies new and changed files of `folder` to `target`; with `deletions`, removes what is gone.

    `scratch`: a folder on the bucket's disk. Files for which `skip` is true (half-written ones) stay here.
    `base`: a folder above from which on no link is followed, by default `folder`. `bucket`: the one that
    `target` lies in, which is not made if somebody has deleted it.
    """

    def __init__(
        self,
        folder: Path,
        target: Path,
        scratch: Path,
        *,
        deletions: bool = False,
        skip: Callable[[Path], bool] = lambda _: False,
        base: Path | None = None,
        bucket: Path | None = None,
    ) -> None:
        self._folder = folder
        self._bucket = bucket
        self._base = base or folder
        self.target = target
        self._scratch = scratch
        self._deletions = deletions
        self._skip = skip
        self._seen: dict[Path, tuple[int, int, int]] = {}

    def known(self) -> None:
        """Takes what is here now as already there (after a restore)."""
        self._seen = {
            path: stamp for path in regular_files(self._folder, self._base) if (stamp := _stamp(path))
        }

    def sync(self) -> int:
        """One pass; how many files were copied or removed. OSError if the bucket cannot be written."""
        if self._bucket is not None and not self._bucket.is_dir():
            raise FileNotFoundError(errno.ENOENT, "The specified bucket does not exist", self._bucket.name)
        changes = 0
        present = set()
        for path in regular_files(self._folder, self._base):
            stamp = _stamp(path)
            if stamp is None or self._skip(path):
                continue
            present.add(path)
            if self._seen.get(path) == stamp:
                continue
            try:
                put_file(path, self.target / path.relative_to(self._folder), self._scratch, self._base)
            except FileNotFoundError:
                continue  # removed meanwhile
            # The stamp from before the copy: what changed during it is copied again.
            self._seen[path] = stamp
            changes += 1
        if self._deletions:
            for path in self._seen.keys() - present:
                (self.target / path.relative_to(self._folder)).unlink(missing_ok=True)
                del self._seen[path]
                changes += 1
        return changes


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.lstat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class Syncer:
    """A thread that syncs mirrors until `finish`; problems go to `report`, each only once."""

    def __init__(
        self, mirrors: list[Mirror], report: Callable[[str], None], interval: float = INTERVAL
    ) -> None:
        self._mirrors = mirrors
        self._report = report
        self._interval = interval
        self._done = threading.Event()
        self._reported: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Ends the thread after a last pass."""
        self._done.set()
        self._thread.join()
        self._pass()

    def _run(self) -> None:
        pause = self._interval
        while not self._done.wait(pause):
            begin = time.monotonic()
            self._pass()
            # With many files a look takes long; it is to cost no more than a twentieth of a core.
            pause = max(self._interval, 20 * (time.monotonic() - begin))

    def _pass(self) -> None:
        for mirror in self._mirrors:
            try:
                mirror.sync()
            except OSError as error:
                # Not the error's whole text, which names a scratch file that is another one in each pass.
                text = f"cannot sync to {mirror.target}: {error.strerror or error}"
                if text not in self._reported:
                    self._reported.add(text)
                    self._report(text)
