"""Reading what a job left in S3: bounded, and without trusting what is in it.

A report is often made from somebody else's job. So nothing is unpacked onto the disk, every read has a limit,
and whatever is not as it should be becomes a sentence in the report instead of an error.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

JSON_LIMIT = 64 * 1024**2
"""Bytes of one JSON file that are read at most."""
ARCHIVE_LIMIT = 2 * 1024**3
"""Unpacked bytes of output.tar.gz that are passed through at most in the search for report.json."""
MEMBERS_LIMIT = 100_000


class Unreadable(Exception):
    """A part of the report cannot be had; the message is the sentence that the report prints."""


class Absent(Unreadable):
    """The part does not exist at all."""


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and key (without a leading or trailing slash) of an `s3://` address."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc:
        raise Unreadable(f"{uri!r} is not an S3 address")
    return parts.netloc, parts.path.strip("/")


def join_s3(*parts: str) -> str:
    return "/".join(part.rstrip("/") for part in parts)


def open_s3(s3: S3Client, uri: str) -> tuple[Any, int]:
    """The streaming body of an object and its size in bytes."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = split_s3(uri)
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


def read_from_archive(
    s3: S3Client, uri: str, names: tuple[str, ...], limit: int = ARCHIVE_LIMIT
) -> dict[str, Any]:
    """The first JSON member of a .tar.gz in S3 that has one of these names, read as a stream.

    Nothing is written to the disk, so a member's path can do no harm; only regular files count.
    """
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
                if not member.isreg() or member.name.removeprefix("./") not in names:
                    continue
                if member.size > JSON_LIMIT:
                    raise Unreadable(
                        f"{member.name} in {uri} is larger than the {JSON_LIMIT:,} bytes a report reads"
                    )
                file = archive.extractfile(member)
                assert file is not None
                return parse_json(file.read(JSON_LIMIT), f"{member.name} in {uri}")
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, OSError) as error:
        raise Unreadable(f"{uri} is not a readable .tar.gz: {error}") from error
    raise Absent(f"{uri} holds no {names[0]}")
