"""The checksums of "Checking object integrity" in the Amazon S3 User Guide.

They are called as members of the API are: `ChecksumCRC32`, and their values are Base64.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from local.s3.errors import invalid_request

if TYPE_CHECKING:
    from local.s3.crc import Crc

CRCS = ("CRC32", "CRC32C", "CRC64NVME")
_HASHES = {"SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512", "MD5": "md5"}
ALGORITHMS = (*CRCS, *_HASHES)
_PREFIX = "x-amz-checksum-"
_NO_CHECKSUM = (_PREFIX + "algorithm", _PREFIX + "mode", _PREFIX + "type")


class Hash(Protocol):
    """As those of hashlib."""

    def update(self, data: bytes, /) -> object: ...

    def digest(self) -> bytes: ...


class _CrcHash:
    def __init__(self, update: Callable[[bytes, int], int], size: int) -> None:
        self._update = update
        self._size = size
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = self._update(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


def _crc(algorithm: str) -> Crc:
    # Here, because numpy takes 14 MB and few clients need it.
    from local.s3.crc import BY_NAME

    return BY_NAME[algorithm]


def new(algorithm: str) -> Hash:
    """S3Error for an algorithm that cannot be computed here."""
    if algorithm == "CRC32":
        return _CrcHash(zlib.crc32, 4)
    if algorithm in CRCS:
        crc = _crc(algorithm)
        return _CrcHash(crc.update, crc.size)
    if algorithm not in _HASHES:
        raise invalid_request(
            f"The local S3 cannot check the checksum algorithm {algorithm}; it has {', '.join(ALGORITHMS)}."
        )
    return hashlib.new(_HASHES[algorithm], usedforsecurity=False)


def text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def of_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The checksums among headers with lower-case names, by algorithm."""
    return {
        name.removeprefix(_PREFIX).upper(): value
        for name, value in headers.items()
        if name.startswith(_PREFIX) and name not in _NO_CHECKSUM
    }


def without_checksums(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not name.startswith(_PREFIX)}


def announced(headers: Mapping[str, str]) -> list[str]:
    """The algorithms of the checksums that a trailer will bring."""
    names = [name.strip().lower() for name in headers.get("x-amz-trailer", "").split(",")]
    return [name.removeprefix(_PREFIX).upper() for name in names if name.startswith(_PREFIX)]


def composite(algorithm: str, parts: Sequence[str]) -> str:
    """The checksum of the parts' checksums."""
    joined = new(algorithm)
    for part in parts:
        joined.update(base64.b64decode(part))
    return f"{text(joined.digest())}-{len(parts)}"


def full(algorithm: str, parts: Sequence[tuple[str, int]]) -> str:
    """The CRC of a whole object by those of its parts, with their sizes in bytes."""
    crc = _crc(algorithm)
    value = 0
    for part, size in parts:
        value = crc.combine(value, int.from_bytes(base64.b64decode(part), "big"), size)
    return text(value.to_bytes(crc.size, "big"))
