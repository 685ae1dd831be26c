"""Objects: files below the folder of their bucket, and the notes beside them.

The disk is the truth. A note that belongs to another file than the one that lies there says nothing, so jobs
may write, replace and remove files without a word to anybody.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from local.jobs.files import is_folder_below, open_below, place
from local.s3 import names
from local.s3.buckets import Buckets
from local.s3.errors import S3Error, no_such_key
from local.s3.files import Draft
from local.s3.notes import Found, Note, Notes, Stamp
from local.s3.walk import holds_files

Check = Callable[[Found | None], None]
_MARKER_INODE = 0
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.ENAMETOOLONG)


class Objects:
    """Reads, writes and removes objects; each change is whole or not there."""

    def __init__(self, buckets: Buckets, notes: Notes) -> None:
        self._buckets = buckets
        self._notes = notes
        # Over every change of names, so that a condition holds when it is acted on, and a file and its note
        # change together.
        self._lock = threading.Lock()

    def open(self, bucket: str, key: str) -> tuple[Found, int]:
        """An object and its open file, -1 for a folder marker. S3Error if it is not there."""
        folder = self._buckets.folder(bucket)
        if not names.is_path(key):
            raise no_such_key(key)
        if key.endswith("/"):
            return self._marker(bucket, folder, key), -1
        while True:
            fd = _open(folder, key)
            try:
                stamp = Stamp.of(os.fstat(fd))
                note = self._notes.get(bucket, key, stamp)
                # Whoever replaces or deletes a file takes its note away: then the key is looked up again.
                if note is not None or not _is_replaced(folder / key, stamp):
                    return Found(key, stamp, note or Note()), fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def find(self, bucket: str, key: str) -> Found:
        """S3Error if it is not there."""
        found, fd = self.open(bucket, key)
        if fd >= 0:
            os.close(fd)
        return found

    def look(self, bucket: str, key: str) -> Found | None:
        """None if it is not there; S3Error if its bucket is not."""
        try:
            return self.find(bucket, key)
        except S3Error as error:
            if error.code != "NoSuchKey":
                raise
            return None

    def check(self, bucket: str, key: str, condition: Check | None) -> None:
        """S3Error if `put` would refuse the key now."""
        folder = self._buckets.folder(bucket)
        names.check_key(key)
        self._find_conflict(folder, key)
        if condition is not None:
            condition(self.look(bucket, key))

    def put(self, bucket: str, key: str, draft: Draft, note: Note, condition: Check | None) -> Found:
        """Gives a file that is complete its key. `condition` is asked with the object that is there now.

        A key that ends in a slash becomes a folder, and is remembered: consoles show it as one. S3Error.
        """
        marks, stamp = key.endswith("/"), draft.stamp
        names.check_holds(key, stamp.size)
        with self._lock:
            self.check(bucket, key, condition)
            target = self._buckets.folder(bucket) / key
            if marks:
                target.mkdir(parents=True, exist_ok=True)
                stamp = Stamp(_MARKER_INODE, 0, time.time_ns())
            elif _mode(target, stat.S_ISDIR):
                _remove_folders(target)
            # Two notes at once: whenever the service is killed, the file that is there has its own.
            self._notes.put(bucket, key, stamp, note)
            if not marks:
                place(draft.path, target)
            self._notes.settle(bucket, key, stamp)
        return Found(key, stamp, note)

    def annotate(self, bucket: str, key: str, change: Callable[[Note], Note]) -> Found:
        """Changes what is said of an object, and not the object. S3Error."""
        with self._lock:
            existing = self.find(bucket, key)
            note = change(existing.note)
            self._notes.put(bucket, key, existing.stamp, note)
        return Found(key, existing.stamp, note)

    def delete(self, bucket: str, key: str, condition: Check | None = None) -> None:
        """No error if it is not there. `condition`: as for `put`."""
        with self._lock:
            folder = self._buckets.folder(bucket)
            if condition is not None:
                condition(self.look(bucket, key))
            path = folder / key
            if not names.is_path(key) or not is_folder_below(folder, path.parent):
                return
            if key.endswith("/"):
                self._notes.remove(bucket, key)
                self._prune(bucket, folder, path)
            elif _mode(path, stat.S_ISREG):
                path.unlink()
                self._notes.remove(bucket, key)
                self._prune(bucket, folder, path.parent)

    def delete_bucket(self, bucket: str) -> None:
        """S3Error if it holds objects; folders that jobs have emptied are none."""
        with self._lock:
            folder = self._buckets.folder(bucket)
            markers = self._notes.markers(bucket)
            if any((folder / key).is_dir() for key in markers) or holds_files(folder):
                raise S3Error(
                    409, "BucketNotEmpty", "The bucket you tried to delete is not empty", BucketName=bucket
                )
            _remove_folders(folder)
            self._notes.remove_bucket(bucket)
            self._buckets.forget(bucket)

    def _marker(self, bucket: str, folder: Path, key: str) -> Found:
        while True:
            stamp = self._notes.marker(bucket, key)
            if stamp is None or not (folder / key).is_dir():
                raise no_such_key(key)
            note = self._notes.get(bucket, key, stamp)
            if note is not None:  # else it has been replaced or deleted meanwhile
                return Found(key, stamp, note)

    def _find_conflict(self, folder: Path, key: str) -> None:
        """S3Error if another object's key is the name of a folder here, or the other way round."""
        parts = key.split("/")
        path = str(folder)
        for number, part in enumerate(parts, 1):
            path += "/" + part
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                return
            last = number == len(parts)
            if not last and not stat.S_ISDIR(mode):
                raise names.conflict(key, "/".join(parts[:number]))
            if last and part and stat.S_ISDIR(mode) and self._in_use(folder, key):
                raise names.conflict(key, key + "/")

    def _in_use(self, folder: Path, key: str) -> bool:
        markers = self._notes.markers(folder.name)
        return any(each.startswith(key + "/") for each in markers) or holds_files(folder / key)

    def _prune(self, bucket: str, folder: Path, path: Path) -> None:
        """Removes the folders that a deleted object leaves empty; on S3 they are but parts of its key."""
        above = [each for each in (path, *path.parents) if each.is_relative_to(folder) and each != folder]
        marked = self._notes.marked(bucket, [f"{each.relative_to(folder)}/" for each in above])
        for each in above:
            if f"{each.relative_to(folder)}/" in marked:
                return
            try:
                each.rmdir()
            except OSError:
                return  # there is more in it


def _open(folder: Path, key: str) -> int:
    """S3Error if there is no such file."""
    try:
        return open_below(folder, folder / key)
    except PermissionError:
        raise S3Error(
            403, "AccessDenied", f"The file of {key!r} may not be read by the local SageMaker.", Key=key
        ) from None
    except OSError as error:
        # Not every error says that: too many files may be open.
        if error.errno not in _NOT_THERE:
            raise
        raise no_such_key(key) from None


def _is_replaced(path: Path, stamp: Stamp) -> bool:
    """Whether the file that was opened has lost its name, to another one or altogether."""
    try:
        return Stamp.of(path.lstat()).inode != stamp.inode
    except OSError as error:
        return error.errno in _NOT_THERE  # deleted


def _mode(path: Path, test: Callable[[int], bool]) -> bool:
    """Whether something of that kind lies there; a link is none."""
    with contextlib.suppress(OSError):
        return test(path.lstat().st_mode)
    return False


def _remove_folders(folder: Path) -> None:
    """Removes a tree of empty folders; what came into it meanwhile stays, and OSError says so."""
    for path, _, _ in os.walk(folder, topdown=False):
        Path(path).rmdir()
