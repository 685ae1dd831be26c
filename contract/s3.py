"""S3 addresses."""

from __future__ import annotations

from contract.errors import ByocError


class AddressError(ByocError, ValueError):
    """A text is not an S3 address."""


def split(uri: str) -> tuple[str, str]:
    """`s3://bucket/some/key` → (bucket, some/key).

    Raises:
        AddressError: it is not an S3 address.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise AddressError(f"{uri} is not an S3 address.", "It begins with s3:// and a bucket.")
    return bucket, key


def join(*parts: str) -> str:
    """Parts of an address with one slash between them."""
    return "/".join(part.rstrip("/") for part in parts)
