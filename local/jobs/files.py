"""Files: copied, written and replaced as a whole, and listed without following links out of a folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PIECE = 1 << 30
_CHUNK = 1 << 20


def regular_files(folder: Path) -> Iterator[Path]:
    """All regular files below `folder`, by name; links and special files are left out."""
    pending = [str(folder)]
    while pending:
        subfolders = []
        try:
            entries = sorted(os.scandir(pending.pop()), key=lambda entry: entry.name)
        except FileNotFoundError:
            continue  # a job may remove its folders at any time
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                subfolders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path)
        pending.extend(reversed(subfolders))


def copy_data(source: Path, target: Path) -> None:
    """Copies a regular file's content (shares its blocks where the file system can); follows no link."""
    # A job may put a link or a FIFO where a file was.
    read = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(read).st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(source))
        write = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            _copy(read, write)
        finally:
            os.close(write)
    finally:
        os.close(read)


def _copy(read: int, write: int) -> None:
    if sys.platform == "linux":
        try:
            while os.copy_file_range(read, write, _PIECE):
                pass
        except OSError as error:
            # Not between these two file systems; nothing was written then.
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
                raise
        else:
            return
    while piece := os.read(read, _CHUNK):
        while piece:
            piece = piece[os.write(write, piece) :]


def put_file(source: Path, target: Path, scratch: Path) -> None:
    """Copies a file into a bucket: appears whole under its name. `scratch`: a folder on the same disk."""
    aside = scratch / uuid.uuid4().hex
    try:
        copy_data(source, aside)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    aside.write_text(json.dumps(value))
    aside.replace(path)


def remove_tree(folder: Path) -> None:
    """Removes a folder and whatever permissions a job gave to what is in it. No error if it is not there."""

    def unlock(function: Any, path: str, _: object) -> None:
        with contextlib.suppress(OSError):
            Path(path).parent.chmod(0o700)
            Path(path).chmod(0o700)
            function(path)

    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, onerror=unlock)
