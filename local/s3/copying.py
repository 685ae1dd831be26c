"""Sources of copies, and how large what is written may be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from local.s3 import conditions, described
from local.s3.errors import S3Error, invalid_argument, invalid_request
from local.s3.files import Incoming, Outgoing
from local.s3.incoming import Received, length_of
from local.s3.notes import Found
from local.s3.objects import Objects

LARGEST = 5 << 30  # bytes of one upload, of a part and of a copy; AWS's


class Closing:
    """A descriptor for the length of a block; -1 is none."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def source_of(members: Mapping[str, Any]) -> tuple[str, str]:
    """Bucket and key of x-amz-copy-source. S3Error."""
    path, _, version = members["CopySource"].partition("?versionId=")
    if version:
        described.check({"VersionId": version})
    bucket, _, key = unquote(path).removeprefix("/").partition("/")
    if not bucket or not key:
        raise invalid_argument(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            ArgumentName="x-amz-copy-source",
            ArgumentValue=members["CopySource"],
        )
    return bucket, key


def open_source(objects: Objects, members: Mapping[str, Any]) -> tuple[Found, int]:
    """The object that is to be copied, and its open file. S3Error if it is not to be."""
    found, fd = objects.open(*source_of(members))
    try:
        conditions.check_source(members, found)
        if found.size > LARGEST and "CopySourceRange" not in members:
            raise invalid_request(
                "The specified copy source is larger than the maximum allowable size for a copy source: "
                f"{LARGEST}"
            )
    except BaseException:
        if fd >= 0:
            os.close(fd)
        raise
    return found, fd


def copy(incoming: Incoming, fd: int, begin: int, end: int) -> Received:
    """Brings bytes of an open file into `incoming`."""
    try:
        for block in Outgoing(fd, begin, end).blocks():
            incoming.feed(block)
    except EOFError as error:
        raise S3Error(
            409, "ConflictException", f"The source has changed while it was copied: {error}."
        ) from None
    return incoming.finish()


def check_size(headers: Mapping[str, str]) -> None:
    """S3Error for a body that is longer than AWS takes."""
    length = length_of(headers.get("x-amz-decoded-content-length", headers.get("content-length", "")))
    if length is not None and length > LARGEST:
        raise S3Error(
            400,
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            ProposedSize=length,
            MaxSizeAllowed=LARGEST,
        )


def copied_range(text: str, size: int) -> tuple[int, int]:
    """First byte and the one behind the last. S3Error unless it is `bytes=FIRST-LAST` of the source."""
    first, dash, last = text.removeprefix("bytes=").partition("-")
    begin, end = length_of(first), length_of(last)
    if not text.startswith("bytes=") or not dash or begin is None or end is None:
        raise invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are "
            "the zero-based offsets of the first and last bytes to copy",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=text[:100],
        )
    if not begin <= end < size:
        raise invalid_argument(
            f"Range specified is not valid for source object of size: {size}",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=text[:100],
        )
    return begin, end + 1
