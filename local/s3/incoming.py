"""Bodies of requests: taken out of their chunks, measured, and held against what the client says of them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local.s3 import checksums
from local.s3.errors import S3Error, invalid_argument, invalid_request

_LONGEST_LINE = 16384  # bytes of a chunk's header or of a trailer
_CONTENT_HASH = "x-amz-content-sha256"


@dataclass(frozen=True)
class Received:
    """A body that is complete and intact."""

    size: int
    md5: str
    checksums: Mapping[str, str]  # by algorithm


class Chunks:
    """Takes `aws-chunked` apart ("Signature calculations: transfer payload in multiple chunks")."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = 0  # bytes of the chunk that are still to come
        self._state = "header"
        self.trailer: dict[str, str] = {}

    def feed(self, data: bytes) -> bytes:
        """The payload in the next piece of the stream. S3Error for what is not chunked."""
        self._buffer += data
        payload: list[bytes] = []
        while True:
            if self._state == "data":
                piece = bytes(self._buffer[: self._left])
                del self._buffer[: self._left]
                self._left -= len(piece)
                payload.append(piece)
                if self._left:
                    break
                self._state = "end"
            line = self._line()
            if line is None:
                break
            self._take(line)
        return b"".join(payload)

    @property
    def complete(self) -> bool:
        return self._state == "done" or self._state == "trailer"

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > _LONGEST_LINE:
                raise _broken("a chunk's header has no end")
            return None
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    def _take(self, line: bytes) -> None:
        if self._state == "header":
            size = line.partition(b";")[0].strip()
            try:
                self._left = int(size, 16)
            except ValueError:
                raise _broken(f"{size[:20]!r} is not the size of a chunk") from None
            if self._left < 0:
                raise _broken("a chunk has a negative size")
            self._state = "data" if self._left else "trailer"
        elif self._state == "end":
            if line:
                raise _broken("a chunk is longer than its header says")
            self._state = "header"
        elif line and self._state == "trailer":
            name, _, value = line.decode("latin-1").partition(":")
            self.trailer[name.strip().lower()] = value.strip()
        else:
            self._state = "done"


class Body:
    """Bytes on their way from a client to `write`. `also`: a checksum to compute that nobody may send."""

    def __init__(self, headers: Mapping[str, str], write: Callable[[bytes], object], also: str = "") -> None:
        self._headers = headers
        self._write = write
        self._size = 0
        self._chunks = Chunks() if _is_chunked(headers) else None
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256() if len(headers.get(_CONTENT_HASH, "")) == 64 else None
        self._expected = checksums.of_headers(headers)
        algorithms = {*self._expected, *checksums.announced(headers), *([also] if also else [])}
        self._hashes = {name: checksums.new(name) for name in algorithms}
        self.length = payload_length(headers)

    def feed(self, data: bytes) -> None:
        """The next piece as it came over the network."""
        if self._sha256 is not None:
            self._sha256.update(data)
        payload = data if self._chunks is None else self._chunks.feed(data)
        if payload:
            self._size += len(payload)
            self._md5.update(payload)
            for each in self._hashes.values():
                each.update(payload)
            self._write(payload)

    def finish(self) -> Received:
        """S3Error if the body is not what its headers and trailers say."""
        if self._chunks is not None:
            if not self._chunks.complete:
                raise _broken("the last chunk is missing")
            self._expected.update(checksums.of_headers(self._chunks.trailer))
        if self.length is not None and self.length != self._size:
            raise _broken(f"{self._size} bytes came in place of {self.length}")
        if self._sha256 is not None and self._sha256.hexdigest() != self._headers[_CONTENT_HASH].lower():
            raise S3Error(
                400,
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            )
        self._check_md5()
        computed = {name: checksums.text(each.digest()) for name, each in self._hashes.items()}
        for name, value in self._expected.items():
            if name not in computed:
                raise invalid_request(
                    f"The trailer has a checksum {name} that x-amz-trailer does not announce."
                )
            check_checksum(name, value, computed[name])
        return Received(self._size, self._md5.hexdigest(), computed)

    def _check_md5(self) -> None:
        sent = self._headers.get("content-md5")
        if sent is None:
            return
        try:
            digest = base64.b64decode(sent, validate=True)
        except binascii.Error:
            digest = b""
        if len(digest) != self._md5.digest_size:
            raise S3Error(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        if digest != self._md5.digest():
            raise S3Error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")


def _is_chunked(headers: Mapping[str, str]) -> bool:
    return headers.get(_CONTENT_HASH, "").startswith("STREAMING-") or "aws-chunked" in headers.get(
        "content-encoding", ""
    )


def payload_length(headers: Mapping[str, str]) -> int | None:
    """The bytes of a body without its chunks' headers, where `headers` announce them. S3Error."""
    return length_of(
        headers.get("x-amz-decoded-content-length" if _is_chunked(headers) else "content-length", "")
    )


def length_of(text: str) -> int | None:
    """The bytes that a header announces; None for what is not a number. S3Error if nothing is that long."""
    if not text.isdecimal():
        return None
    if len(text) > 18:
        raise invalid_argument(f"A body of {text[:20]}… bytes is longer than any that S3 takes.")
    return int(text)


def check_checksum(algorithm: str, expected: str, computed: str) -> None:
    """S3Error if a checksum is not the one that was computed."""
    if expected == computed:
        return
    try:
        well_formed = len(base64.b64decode(expected, validate=True)) == len(base64.b64decode(computed))
    except binascii.Error:
        well_formed = False
    if not well_formed:
        raise invalid_request(f"Value for x-amz-checksum-{algorithm.lower()} header is invalid.")
    raise S3Error(400, "BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")


def _broken(why: str) -> S3Error:
    return S3Error(400, "IncompleteBody", f"The request's body is not what its headers say it is: {why}.")
