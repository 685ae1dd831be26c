"""Files: copied, written and replaced as a whole, and listed without following links out of a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

_PIECE = 1 << 30
_CHUNK = 1 << 20
_ATTEMPTS = 100  # to be quicker than those who remove folders
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_below(base: Path, path: Path, flags: int = os.O_RDONLY, *, make: bool = False) -> int:
    """Opens the regular file `path`, which lies below `base`; a descriptor. OSError if it is none.

    No link on the way from `base` is followed, for what lies there is a job's, and a link of it may lead
    anywhere on this machine. Nor does a FIFO make it wait. `make`: with the folders that are missing.
    """
    *parents, name = path.relative_to(base).parts
    folder = os.open(base, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for parent in parents:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(parent, dir_fd=folder)
            inner = os.open(parent, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return descriptor


def is_folder_below(base: Path, folder: Path) -> bool:
    """Whether `folder` is a real one, and no link leads to it from `base`."""
    try:
        while folder != base:
            if not stat.S_ISDIR(folder.lstat().st_mode):
                return False
            folder = folder.parent
    except OSError:
        return False
    return True


def regular_files(folder: Path, base: Path | None = None) -> Iterator[Path]:
    """All regular files below `folder`, by name; links and special files are left out.

    `base`: a folder above, below which a job may have made links; none if a link leads to `folder`.
    """
    if base is not None and not is_folder_below(base, folder):
        return
    pending = [str(folder)]
    while pending:
        subfolders = []
        try:
            with os.scandir(pending.pop()) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue  # a job may remove its folders at any time
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                subfolders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path)
        pending.extend(reversed(subfolders))


def copy_data(source: Path, target: Path, base: Path | None = None) -> None:
    """Copies a regular file's content (shares its blocks where the file system can); follows no link.

    `base`: a folder above `source` from which on no link is followed, by default its own.
    """
    read = open_below(base or source.parent, source)
    try:
        write = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            copy_all(read, write)
        finally:
            os.close(write)
    finally:
        os.close(read)


def copy_all(read: int, write: int) -> None:
    """Appends an open file to another (shares its blocks where the file system can)."""
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


def put_file(source: Path, target: Path, scratch: Path, base: Path | None = None) -> None:
    """Copies a file into a bucket: appears whole under its name. `scratch`: a folder on the same disk."""
    aside = scratch / uuid.uuid4().hex
    try:
        copy_data(source, aside, base)
        place(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def place(aside: Path, target: Path) -> None:
    """Moves a complete file to `target` in a bucket, with the folders that are missing.

    Whoever deletes the last object of a folder takes the folder away as well, at any moment.
    """
    for attempt in range(_ATTEMPTS):
        try:
            aside.replace(target)
        except FileNotFoundError:
            if attempt + 1 == _ATTEMPTS or not aside.exists():
                raise
            target.parent.mkdir(parents=True, exist_ok=True)
        else:
            return


def remove_tree(folder: Path) -> None:
    """Removes a folder, whatever permissions a job gave to what is in it. No error if it is not there.

    What cannot be removed stays.
    """
    if folder.is_symlink():
        folder.unlink()
        return
    pending = [str(folder)]
    while pending:
        path = pending.pop()
        with contextlib.suppress(OSError):
            _unlock(path)
            with os.scandir(path) as entries:
                pending.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    shutil.rmtree(folder, ignore_errors=True)


def clear(folder: Path, kept: Collection[Path]) -> None:
    """Removes what is in `folder`, but for the folders `kept` below it. No error if it is not there."""
    if not folder.is_dir():
        return
    _unlock(str(folder))
    for path in list(folder.iterdir()):
        real = path.is_dir() and not path.is_symlink()
        if real and path in kept:
            continue
        if real and any(path in below.parents for below in kept):
            clear(path, kept)
        elif real:
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)


def _unlock(folder: str) -> None:
    """Gives a folder's owner all rights; follows no link, and changes no mode without need."""
    status = os.lstat(folder)
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(folder, 0o700)  # noqa: PTH101
