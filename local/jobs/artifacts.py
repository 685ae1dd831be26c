"""`model.tar.gz` and `output.tar.gz`: packed the same way every time, unpacked without trusting them."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import uuid
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from local.jobs.files import open_below, place, put_file, regular_files

_SAMPLE = 256 * 1024
_CHUNK = 1024 * 1024
# Weights hardly shrink: compressing 45 MB of them costs more than a second and saves 8 %.
_WORTH_IT = 0.85


class ArtifactProblem(Exception):
    """An artifact that must not or cannot be unpacked; the text says why."""


class _Gzip(io.RawIOBase):
    """Writes one gzip member (RFC 1952) whose level may change on the way.

    One member, because Python's streaming tar reader stops at the end of the first.
    """

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._level = -1
        self._deflate: zlib._Compress | None = None
        self._crc = 0
        self._size = 0
        # No name and no time, so that the same content gives the same bytes.
        target.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")

    def level(self, level: int) -> None:
        """Level of what is written from here on."""
        if level == self._level:
            return
        if self._deflate is not None:
            # Ends at a byte; what follows refers to nothing before it, so that the pieces make one stream.
            self._target.write(self._deflate.flush(zlib.Z_FULL_FLUSH))
        self._level = level
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        assert self._deflate is not None
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._target.write(self._deflate.compress(data))
        return len(data)

    def close(self) -> None:
        if self._deflate is not None:
            self._target.write(self._deflate.flush())
            self._target.write(struct.pack("<LL", self._crc, self._size & 0xFFFFFFFF))
            self._deflate = None
        super().close()


def pack(folder: Path, target: Path, scratch: Path, base: Path | None = None) -> int:
    """Packs what is in `folder` as `target` (.tar.gz); how many files. Links and special files are left out.

    Same names and contents give the same bytes. `target` appears whole; `scratch` is a folder on its disk.
    `base`: a folder above from which on no link is followed.
    """
    aside = scratch / uuid.uuid4().hex
    count = 0
    try:
        with aside.open("wb") as raw, _Gzip(raw) as packed:
            packed.level(1)
            with tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as tar:
                for path in regular_files(folder, base):
                    with os.fdopen(open_below(base or folder, path), "rb") as file:
                        info = tar.gettarinfo(arcname=str(path.relative_to(folder)), fileobj=file)
                        info.uid = info.gid = 0
                        info.uname = info.gname = "root"
                        info.mtime = 0
                        info.mode = 0o755 if info.mode & 0o100 else 0o644
                        packed.level(_level(file, info.size))
                        tar.addfile(info, file)
                        count += 1
                packed.level(1)
        place(aside, target)
    finally:
        aside.unlink(missing_ok=True)
    return count


def _level(file: BinaryIO, size: int) -> int:
    """1 for what shrinks, 0 for what does not, judged by a sample from the middle."""
    if size < _SAMPLE:
        return 1
    file.seek((size - _SAMPLE) // 2)
    sample = file.read(_SAMPLE)
    file.seek(0)
    return 1 if len(zlib.compress(sample, 1)) < _WORTH_IT * len(sample) else 0


def put_uncompressed(folder: Path, target: Path, scratch: Path, base: Path | None = None) -> int:
    """Copies what is in `folder` below `target`; how many files (OutputDataConfig.CompressionType NONE)."""
    count = 0
    for path in regular_files(folder, base):
        put_file(path, target / path.relative_to(folder), scratch, base or folder)
        count += 1
    return count


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a .tar.gz of plain files and folders. ArtifactProblem for anything else in it.

    Refused: links, devices, absolute names, '..', and whatever is no gzipped tar. On an error `folder` may
    hold a part of the files.
    """
    root = folder.resolve()
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = member.name
                parts = [part for part in name.split("/") if part not in ("", ".")]
                if name.startswith("/") or ".." in parts or "\\" in name:
                    raise ArtifactProblem(f"it holds {name!r}, which would leave the model's folder")
                if member.issym() or member.islnk():
                    raise ArtifactProblem(f"it holds the link {name!r}; put the file itself into the archive")
                target = root.joinpath(*parts)
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                elif member.isfile():
                    if not parts:
                        raise ArtifactProblem("it holds a file without a name")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source = tar.extractfile(member)
                    assert source is not None
                    with source, target.open("wb") as write:
                        while chunk := source.read(_CHUNK):
                            write.write(chunk)
                else:
                    raise ArtifactProblem(f"it holds {name!r}, which is neither a file nor a folder")
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ArtifactProblem(f"it is no intact gzipped tar ({error})") from error
    except OSError as error:
        raise ArtifactProblem(f"it cannot be unpacked: {error.strerror or error}") from error
