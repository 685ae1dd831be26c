"""Reading what a job left in S3: bounded, and without trusting what is in it.

A report is often made from somebody else's job. So nothing is unpacked onto the disk, every read has a limit,
and whatever is not as it should be becomes a sentence in the report instead of an error.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from contract import s3 as s3_address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

JSON_LIMIT = 64 * 1024**2
"""Bytes of one JSON file that are read at most."""
ARCHIVE_LIMIT = 2 * 1024**3
"""Unpacked bytes of output.tar.gz that are passed through at most in the search for its JSON files."""
MEMBERS_LIMIT = 100_000


class Unreadable(Exception):
    """A part of the report cannot be had; the message is the sentence that the report prints."""


class Absent(Unreadable):
    """The part does not exist at all."""


def open_s3(s3: S3Client, uri: str) -> tuple[Any, int]:
    """The streaming body of an object and its size in bytes."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        bucket, key = s3_address.split(uri)
    except s3_address.AddressError:
        raise Unreadable(f"{uri!r} is not an S3 address") from None
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in {"NoSuchKey", "NoSuchBucket", "404", "NotFound"}:
            raise Absent(f"{uri} does not exist") from error
        raise Unreadable(f"{uri} could not be read: {error}") from error
    except BotoCoreError as error:
        raise Unreadable(f"{uri} could not be read: {error}") from error
    return answer["Body"], int(answer["ContentLength"])


def read_json(s3: S3Client, uri: str, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """A JSON object from S3. NaN and Infinity, which Python writes, are read as they are."""
    body, size = open_s3(s3, uri)
    if size > limit:
        raise Unreadable(f"{uri} has {size:,} bytes, more than the {limit:,} that a report reads")
    with body:
        return parse_json(body.read(limit + 1), uri)


def parse_json(content: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{name} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise Unreadable(f"{name} holds a JSON {type(value).__name__}, not an object")
    return value


class _Limited(io.RawIOBase):
    """A reader that ends an archive which unpacks to more than it should (a gzip bomb does)."""

    def __init__(self, raw: Any, limit: int) -> None:
        self._raw, self._left = raw, limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._raw.read(min(size if size >= 0 else 1 << 20, 1 << 20))
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable("the archive unpacks to more than a report reads")
        return data


def read_members(
    s3: S3Client, uri: str, names: Collection[str], limit: int = ARCHIVE_LIMIT
) -> dict[str, dict[str, Any] | Unreadable]:
    """The JSON members of a .tar.gz in S3 that have these names, read as one stream.

    A name may stand below `data/` too, where SageMaker puts what lay in /opt/ml/output/data; the first of
    each counts. A member that cannot be read has its reason in the place of its content, one that does not
    exist is left out. Nothing is written to the disk, so a member's path can do no harm; only regular files
    count.

    Raises:
        Unreadable: none of them could be read, for a reason that concerns the whole archive.
    """
    contents: dict[str, dict[str, Any] | Unreadable] = {}
    reason = None
    body, _ = open_s3(s3, uri)
    try:
        with (
            body,
            gzip.GzipFile(fileobj=body, mode="rb") as unpacked,
            tarfile.open(fileobj=_Limited(unpacked, limit), mode="r|") as archive,
        ):
            for count, member in enumerate(archive):
                if count > MEMBERS_LIMIT:
                    raise Unreadable(f"{uri} holds more than {MEMBERS_LIMIT:,} files")
                name = member.name.removeprefix("./").removeprefix("data/")
                if not member.isreg() or name not in names or name in contents:
                    continue
                contents[name] = _read_member(archive, member, f"{member.name} in {uri}")
                if len(contents) == len(names):
                    return contents
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, OSError, zlib.error) as error:
        reason = Unreadable(f"{uri} is not a readable .tar.gz: {error}")
    except Unreadable as error:
        reason = error
    if reason is not None:
        if not contents:
            raise reason
        # What came before the damage is whole, and the rest may have been behind it.
        contents |= {name: reason for name in names if name not in contents}
    return contents


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> dict[str, Any] | Unreadable:
    if member.size > JSON_LIMIT:
        return Unreadable(f"{name} is larger than the {JSON_LIMIT:,} bytes that a report reads")
    file = archive.extractfile(member)
    assert file is not None
    content = file.read(JSON_LIMIT)
    try:
        return parse_json(content, name)
    except Unreadable as error:
        return error
