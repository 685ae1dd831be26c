"""`model.tar.gz` and `output.tar.gz`: packed the same way every time, unpacked without trusting them."""

from __future__ import annotations

import gzip
import io
import tarfile
import uuid
import zlib
from pathlib import Path
from typing import BinaryIO

from local.jobs.files import put_file, regular_files

_SAMPLE = 256 * 1024
_CHUNK = 1024 * 1024
# Weights hardly shrink: compressing 45 MB of them costs more than a second and saves 8 %.
_WORTH_IT = 0.85


class ArtifactProblem(Exception):
    """An artifact that must not or cannot be unpacked; the text says why."""


class _Members(io.RawIOBase):
    """A gzip stream of several members, each with its own level; readers see one stream (RFC 1952)."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._level = -1
        self._member: gzip.GzipFile | None = None

    def level(self, level: int) -> None:
        """Level of what is written from here on."""
        if level != self._level:
            self._finish()
            self._level = level
            # No name and no time, so that the same content gives the same bytes.
            self._member = gzip.GzipFile("", "wb", level, self._target, mtime=0)

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        assert self._member is not None
        return self._member.write(data)  # type: ignore[arg-type]

    def _finish(self) -> None:
        if self._member is not None:
            self._member.close()
            self._member = None

    def close(self) -> None:
        self._finish()
        super().close()


def pack(folder: Path, target: Path, scratch: Path) -> int:
    """Packs what is in `folder` as `target` (.tar.gz); how many files. Links and special files are left out.

    Same names and contents give the same bytes. `target` appears whole; `scratch` is a folder on its disk.
    """
    aside = scratch / uuid.uuid4().hex
    count = 0
    try:
        with aside.open("wb") as raw, _Members(raw) as members:
            members.level(1)
            with tarfile.open(fileobj=members, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as tar:
                for path in regular_files(folder):
                    with path.open("rb") as file:
                        info = tar.gettarinfo(arcname=str(path.relative_to(folder)), fileobj=file)
                        info.uid = info.gid = 0
                        info.uname = info.gname = "root"
                        info.mtime = 0
                        info.mode = 0o755 if info.mode & 0o100 else 0o644
                        members.level(_level(file, info.size))
                        tar.addfile(info, file)
                        count += 1
                members.level(1)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.replace(target)
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


def put_uncompressed(folder: Path, target: Path, scratch: Path) -> int:
    """Copies what is in `folder` below `target`; how many files (OutputDataConfig.CompressionType NONE)."""
    count = 0
    for path in regular_files(folder):
        put_file(path, target / path.relative_to(folder), scratch)
        count += 1
    return count


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a .tar.gz of plain files and folders. ArtifactProblem for anything else in it.

    Refused: links, devices, absolute names, '..', and whatever is no gzipped tar. On an error `folder` may
    hold a part of the files.
    """
    root = folder.resolve()
    try:
        with tarfile.open(archive, "r|gz", bufsize=_CHUNK) as tar:
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
