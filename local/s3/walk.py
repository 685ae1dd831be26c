"""The keys of a bucket in S3's order, found by looking into no folder that is not needed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from operator import itemgetter
from pathlib import Path

Entry = os.DirEntry[str]


class Walk:
    """Keys that begin with `prefix` and come behind `after`, in the order of their UTF-8 bytes.

    Each comes with its file's entry, a folder marker with None. What is neither a file nor a folder, or has a
    name that is not UTF-8, is no object. `skip` may be set between two keys. With a `delimiter`, a folder
    whose objects have one common prefix stands for all of them: it comes with None, too.
    """

    def __init__(
        self, bucket: Path, prefix: str, after: str, markers: Collection[str], delimiter: str = ""
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._after = after
        self._markers = markers
        self._delimiter = delimiter
        self.skip = ""  # keys that begin with it are left out from now on

    def __iter__(self) -> Iterator[tuple[str, Entry | None]]:
        base, _, _ = self._prefix.rpartition("/")
        base += "/" if base else ""
        folder = _folder(self._bucket, base)
        if folder is None:
            return
        if base in self._markers and self._wanted(base):
            yield base, None
        stack = [self._entries(folder, base)]
        while stack:
            for key, entry in stack[-1]:
                if self.skip and key.startswith(self.skip):
                    continue
                if not key.endswith("/"):
                    if entry.is_file(follow_symlinks=False):
                        yield key, entry
                    continue
                if self._delimiter and key.find(self._delimiter, len(self._prefix)) >= 0:
                    if self._holds_objects(entry.path, key):
                        yield key, None
                    continue
                if key in self._markers and self._wanted(key):
                    yield key, None
                    if self.skip and key.startswith(self.skip):
                        continue
                stack.append(self._entries(entry.path, key))
                break
            else:
                stack.pop()

    def _wanted(self, key: str) -> bool:
        return key > self._after and key.startswith(self._prefix)

    def _holds_objects(self, folder: str, base: str) -> bool:
        marked = (key for key in self._markers if key.startswith(base))
        return any(_folder(self._bucket, key) is not None for key in marked) or any(
            entry.is_file(follow_symlinks=False) for entry in _files(folder)
        )

    def _entries(self, folder: str, base: str) -> Iterator[tuple[str, Entry]]:
        """What is in a folder, each under its key, folders with a slash: so they sort as their objects do."""
        children = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    key = base + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        key += "/"
                        if not key.startswith(self._prefix) and not self._prefix.startswith(key):
                            continue
                        if key <= self._after and not self._after.startswith(key):
                            continue
                    elif not self._wanted(key):
                        continue
                    if key.isascii() or _is_text(key):
                        children.append((key, entry))
        except (FileNotFoundError, NotADirectoryError):
            return iter(())  # a job may remove its folders at any time
        children.sort(key=itemgetter(0))
        return iter(children)


def holds_files(folder: Path) -> bool:
    """Whether there is anything but folders below a folder."""
    return any(True for _ in _files(str(folder)))


def _files(folder: str) -> Iterator[Entry]:
    """Whatever is no folder, anywhere below."""
    pending = [folder]
    while pending:
        with contextlib.suppress(FileNotFoundError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    yield entry


def _folder(bucket: Path, base: str) -> str | None:
    """The folder of keys that begin with `base`; None if there is none, or a link leads to it."""
    folder = str(bucket)
    for part in base.split("/")[:-1]:
        if part in ("", ".", ".."):
            return None
        folder += "/" + part
        try:
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                return None
        except (OSError, ValueError):
            return None
    return folder


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
