"""Files on their way into a bucket and out of it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from local.jobs.files import copy_all
from local.s3.errors import disk_full
from local.s3.incoming import Body, Received
from local.s3.notes import Stamp

SPARE = 16 << 20  # bytes that stay free on the disk for the service itself
BLOCK = 1 << 20  # bytes that are read, checked and written at once


class Space:
    """The folder in which objects are written until they are complete; on the buckets' disk."""

    def __init__(self, folder: Path) -> None:
        """Creates the folder, and removes what a service that was killed has left in it."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def check(self, size: int) -> None:
        """S3Error if the disk has no room for `size` more bytes."""
        if size > shutil.disk_usage(self._folder).free - SPARE:
            raise disk_full()

    def new(self) -> Path:
        """A name that nobody has."""
        return self._folder / uuid.uuid4().hex


class Draft:
    """A file that is being written. `discard` follows whatever happens."""

    def __init__(self, space: Space, size: int) -> None:
        """S3Error if the disk has no room for `size` bytes."""
        space.check(size)
        self._space = space
        self.path = space.new()
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def write(self, data: bytes) -> None:
        """S3Error if the disk is full."""
        self._space.check(len(data))
        while data:
            data = data[os.write(self._fd, data) :]

    def append(self, file: Path) -> None:
        """All of another file."""
        with file.open("rb", buffering=0) as source:
            copy_all(source.fileno(), self._fd)

    @property
    def stamp(self) -> Stamp:
        return Stamp.of(os.fstat(self._fd))

    def discard(self) -> None:
        """Closes the file, and removes it if it has not got another name."""
        os.close(self._fd)
        self.path.unlink(missing_ok=True)


class Incoming(Draft):
    """A file that is written from a body."""

    def __init__(self, space: Space, headers: Mapping[str, str], also: str = "") -> None:
        """`headers`: what is said of the body; `also`: a checksum to compute besides. S3Error."""
        body = Body(headers, self.write, also)
        super().__init__(space, body.length or 0)
        self._body = body

    def feed(self, data: bytes) -> None:
        """The next piece of the body as it was sent."""
        self._body.feed(data)

    def finish(self) -> Received:
        """S3Error if the body is not what its headers say."""
        return self._body.finish()


class Outgoing:
    """A piece of an open file; whoever has it closes it."""

    def __init__(self, fd: int, begin: int, end: int) -> None:
        self._fd = fd
        self._begin = begin
        self._end = end

    @property
    def size(self) -> int:
        return self._end - self._begin

    def read(self) -> bytes:
        """The next block; empty at the end. EOFError if somebody has cut the file off meanwhile."""
        wanted = min(BLOCK, self.size)
        if not wanted:
            return b""
        block = os.pread(self._fd, wanted, self._begin)
        if not block:
            raise EOFError("the file is shorter than it was when it was opened")
        self._begin += len(block)
        return block

    def blocks(self) -> Iterator[bytes]:
        while block := self.read():
            yield block

    def close(self) -> None:
        os.close(self._fd)
