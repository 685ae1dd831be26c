"""Which names a bucket may have, and which keys can be paths of files."""

from __future__ import annotations

import re

from local.s3.errors import S3Error, invalid_argument

_LONGEST_KEY = 1024  # bytes
_LONGEST_PART = 255  # bytes of a file's name
# "Bucket naming rules" in the Amazon S3 User Guide.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+", re.ASCII)
_RESERVED = (("xn--", "sthree-", "amzn-s3-demo-"), ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"))


def check_bucket(name: str) -> None:
    """S3Error for a name that no new bucket may have."""
    if (
        not _BUCKET.fullmatch(name)
        or ".." in name
        or _ADDRESS.fullmatch(name)
        or name.startswith(_RESERVED[0])
        or name.endswith(_RESERVED[1])
    ):
        raise S3Error(400, "InvalidBucketName", "The specified bucket is not valid.", BucketName=name)


def check_key(key: str) -> None:
    """S3Error for a key that no new object can have here."""
    if len(key.encode()) > _LONGEST_KEY:
        raise S3Error(400, "KeyTooLongError", "Your key is too long", MaxSizeAllowed=_LONGEST_KEY)
    problem = _problem(key)
    if problem:
        raise invalid_argument(
            f"The key {key!r} cannot be an object's in the local S3, where keys are paths of files: "
            f"{problem}.",
            ArgumentName="key",
        )


def check_holds(key: str, size: int) -> None:
    """S3Error if an object with this key cannot hold `size` bytes."""
    if size and key.endswith("/"):
        raise invalid_argument(
            f"The key {key!r} ends in a slash: in the local S3 it is a folder's and can hold no bytes.",
            ArgumentName="key",
        )


def is_path(key: str) -> bool:
    """Whether an object with this key may be there."""
    return not _problem(key)


def _problem(key: str) -> str:
    parts = key.removesuffix("/").split("/")
    if "" in parts:
        return "one component is empty"
    if "." in parts or ".." in parts:
        return "'.' or '..' is a component"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in key):
        return "it has control characters"
    if any(len(part.encode()) > _LONGEST_PART for part in parts):
        return f"a component has more than {_LONGEST_PART} bytes"
    return ""


def conflict(key: str, other: str) -> S3Error:
    """`key` cannot be written because of `other`, an object or the prefix of some."""
    return invalid_argument(
        f"The key {key!r} cannot be an object's in the local S3, where keys are paths of files: {other!r} is "
        "there, and no name is both an object and a folder of objects.",
        ArgumentName="key",
    )
