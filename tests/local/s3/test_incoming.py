from __future__ import annotations

import base64
import hashlib
import zlib

import pytest

from local.s3.errors import S3Error
from local.s3.incoming import Body, Chunks, Received

CHUNKED = (
    b"5;chunk-signature=abc\r\nhello\r\n6\r\n world\r\n0;chunk-signature=x\r\n"
    b"x-amz-checksum-crc32:DUoRhQ==\r\n\r\n"
)


def receive(data: bytes, step: int = 7, **headers: str) -> tuple[bytes, Received]:
    written: list[bytes] = []
    body = Body({name.replace("_", "-"): value for name, value in headers.items()}, written.append)
    for begin in range(0, len(data), step):
        body.feed(data[begin : begin + step])
    return b"".join(written), body.finish()


def refusal(data: bytes, **headers: str) -> str:
    with pytest.raises(S3Error) as caught:
        receive(data, **headers)
    assert caught.value.status == 400
    return caught.value.code


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_chunks_come_apart_wherever_the_network_cuts_them(step: int) -> None:
    written, received = receive(
        CHUNKED, step, content_encoding="aws-chunked", x_amz_trailer="x-amz-checksum-crc32",
        x_amz_decoded_content_length="11",
    )  # fmt: skip
    assert written == b"hello world"
    assert received.checksums == {"CRC32": "DUoRhQ=="}
    assert received.md5 == hashlib.md5(b"hello world").hexdigest()


def test_chunks_are_known_by_the_signature_too() -> None:
    assert (
        receive(b"1\r\nx\r\n0\r\n\r\n", x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER")[0] == b"x"
    )


@pytest.mark.parametrize(
    "stream",
    [b"", b"5\r\nhel", b"5\r\nhello\r\n", b"zz\r\n", b"2\r\nhello\r\n0\r\n\r\n", b"-1\r\n", b"x" * 20_000],
)
def test_a_broken_stream_is_refused(stream: bytes) -> None:
    assert refusal(stream, content_encoding="aws-chunked") == "IncompleteBody"


def test_a_trailer_that_lies_is_refused() -> None:
    lie = CHUNKED.replace(b"DUoRhQ==", b"AAAAAA==")
    trailer = {"content_encoding": "gzip,aws-chunked", "x_amz_trailer": "x-amz-checksum-crc32"}
    assert refusal(lie, **trailer) == "BadDigest"
    assert refusal(CHUNKED, content_encoding="aws-chunked") == "InvalidRequest"  # not announced
    assert refusal(CHUNKED, **trailer, x_amz_decoded_content_length="12") == "IncompleteBody"


def test_what_headers_say_of_a_body_is_checked() -> None:
    md5 = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    sha1 = base64.b64encode(hashlib.sha1(b"hello").digest()).decode()
    crc = base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
    good = {"content_md5": md5, "x_amz_content_sha256": hashlib.sha256(b"hello").hexdigest()}
    _, received = receive(b"hello", **good, x_amz_checksum_sha1=sha1, x_amz_checksum_crc32=crc)
    assert received.checksums == {"SHA1": sha1, "CRC32": crc}
    assert refusal(b"hallo", content_md5=md5) == "BadDigest"
    assert refusal(b"hello", content_md5="no MD5") == "InvalidDigest"
    assert refusal(b"hallo", x_amz_content_sha256=good["x_amz_content_sha256"]) == "XAmzContentSHA256Mismatch"
    assert refusal(b"hallo", x_amz_checksum_sha1=sha1) == "BadDigest"
    assert refusal(b"hello", x_amz_checksum_crc32=sha1) == "InvalidRequest"
    assert refusal(b"hello", x_amz_checksum_crc32="?") == "InvalidRequest"
    assert refusal(b"hello", content_length="6") == "IncompleteBody"


def test_a_checksum_that_nobody_here_can_compute_is_refused() -> None:
    with pytest.raises(S3Error, match="cannot check the checksum algorithm XXHASH3; it has CRC32, CRC32C"):
        Body({"x-amz-checksum-xxhash3": "AAAA"}, print)


def test_a_chunks_header_without_an_end_is_not_kept() -> None:
    chunks = Chunks()
    for _ in range(16):
        chunks.feed(b"1" * 1000)
    with pytest.raises(S3Error, match="has no end"):
        chunks.feed(b"1" * 1000)


@pytest.mark.parametrize("header", ["content-length", "x-amz-decoded-content-length"])
def test_a_length_that_nothing_has_is_refused(header: str) -> None:
    headers = {"x_amz_content_sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"} if "decoded" in header else {}
    assert refusal(b"", **headers, **{header.replace("-", "_"): "9" * 5000}) == "InvalidArgument"
