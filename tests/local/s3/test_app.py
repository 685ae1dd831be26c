from __future__ import annotations

import http.client
import socket
import threading
import time
from base64 import b64encode
from collections import namedtuple
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.s3 import files, objectops, xmlbody
from local.s3.errors import S3Error

Service = Any  # conftest.Service
Refused = Callable[..., str]
Read = Callable[..., bytes]
Keys = Callable[..., list[str]]


@pytest.fixture
def speak(service: Service, s3: Any) -> Iterator[Callable[[bytes], bytes]]:
    """Sends bytes over one connection; what comes back until it is closed or nothing comes any more."""
    with socket.create_connection(("127.0.0.1", service.server.port), timeout=2) as connection:

        def speak(data: bytes) -> bytes:
            connection.sendall(data)
            answer = b""
            try:
                while block := connection.recv(65536):
                    answer += block
            except TimeoutError:
                pass
            return answer

        yield speak


def files_of(service: Service) -> list[Path]:
    """Everything that was left by requests."""
    return [
        path
        for folder in ("s3", "s3-incoming")
        for path in (service.config.home / folder).rglob("*")
        if path.is_file()
    ]


def test_everything_is_there_after_a_restart(service: Service, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="kept", Body=b"x")
    service.restart()
    assert service.client("s3").get_object(Bucket="bucket", Key="kept")["Body"].read() == b"x"


def test_no_key_leaves_the_bucket(service: Service, s3: Any, send: Any) -> None:
    for path in (
        "/bucket/../outside",
        "/bucket/a/%2e%2e/%2e%2e/outside",
        "/../outside/x",
        "/../x",
        "/bucket/%00",
    ):
        answer = send("PUT", path, b"x")
        assert (answer.status, answer.code) in ((400, "InvalidArgument"), (404, "NoSuchBucket"))
        assert send("GET", path).status == 404
        assert send("DELETE", path).status in (204, 404)
    assert [path.name for path in service.config.s3_root.iterdir()] == ["bucket"]
    assert not list(service.config.home.parent.rglob("outside"))


def test_addresses_that_are_none(send: Any) -> None:
    assert send("GET", "/bucket/%ff").code == "InvalidURI"
    assert send("GET", "/bucket?prefix=%ff").code == "InvalidURI"
    assert send("GET", "/bucket?prefix=a&prefix=b").code == "InvalidArgument"


def test_what_a_request_asks_beside_the_operation_is_refused(s3: Any, send: Any, read: Read) -> None:
    """Otherwise a new sub-resource would be taken for the object itself."""
    s3.put_object(Bucket="bucket", Key="k", Body=b"old")
    for method, path in [
        ("PUT", "/bucket/k?future"),
        ("PUT", "/bucket/k?uploadId=1"),
        ("GET", "/bucket?future"),
    ]:
        answer = send(method, path, b"new" if method == "PUT" else None)
        assert (answer.status, answer.code) == (501, "NotImplemented")
        assert answer.xml.findtext("Message") in (
            "The local S3 does not implement ?future in PutObject.",
            "The local S3 does not implement ?uploadId in PutObject.",
            "The local S3 does not implement ?future in ListObjects.",
        )
    assert read("k") == b"old"
    assert send("POST", "/bucket", b"form").code == "MethodNotAllowed"
    assert send("PATCH", "/bucket/k").status == 405


def test_errors_are_s3s(send: Any) -> None:
    answer = send("GET", "/bucket/a<b")
    assert (answer.status, answer.headers["content-type"]) == (404, "application/xml")
    assert {child.tag: child.text for child in answer.xml} == {
        "Code": "NoSuchKey",
        "Message": "The specified key does not exist.",
        "Key": "a<b",
        "RequestId": answer.headers["x-amz-request-id"],
    }
    assert send("HEAD", "/bucket/none").body == b""


def test_another_owner_is_refused(s3: Any, refused: Refused, service: Service) -> None:
    refused(s3.list_objects_v2, "AccessDenied", Bucket="bucket", ExpectedBucketOwner="999999999999")
    s3.list_objects_v2(Bucket="bucket", ExpectedBucketOwner=service.config.account)
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    refused(
        s3.copy_object, "AccessDenied", Bucket="bucket", Key="to", CopySource="bucket/k",
        ExpectedSourceBucketOwner="999999999999",
    )  # fmt: skip


@pytest.mark.parametrize("signature", ["s3", "s3v4"])
def test_presigned_addresses(service: Service, s3: Any, send: Any, read: Read, signature: str) -> None:
    signer = service.client("s3", signature_version=signature)
    described = {"ContentType": "text/x", "ContentMD5": b64encode(md5(b"body").digest()).decode()}
    request = {"Bucket": "bucket", "Key": "a b"}
    for more in ({}, described):
        url = urlsplit(signer.generate_presigned_url("put_object", {**request, **more}))
        headers = {name.replace("Content", "Content-"): value for name, value in more.items()}
        assert send("PUT", f"{url.path}?{url.query}", b"body", **headers).status == 200
        assert read("a b") == b"body"
    assert s3.head_object(**request)["ContentType"] == "text/x"
    request["ResponseContentType"] = "text/css"
    url = urlsplit(signer.generate_presigned_url("get_object", request))
    answer = send("GET", f"{url.path}?{url.query}")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"body", "text/css")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_headers_that_a_presigned_address_carries(send: Any, s3: Any) -> None:
    assert send("PUT", "/bucket/k?x-amz-meta-a=1&X-Amz-Storage-Class=STANDARD_IA", b"x").status == 200
    head = s3.head_object(Bucket="bucket", Key="k")
    assert (head["Metadata"], head["StorageClass"]) == ({"a": "1"}, "STANDARD_IA")
    of_nothing = "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32"
    assert send("PUT", f"/bucket/k?{of_nothing}", b"x").status == 200


def test_bodies_in_chunks_with_and_without_a_length(speak: Any, read: Read, s3: Any) -> None:
    body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    headers = (
        b"host: 127.0.0.1\r\ncontent-encoding: aws-chunked\r\nx-amz-trailer: x-amz-checksum-crc32\r\n"
        b"x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-decoded-content-length: 5\r\n"
    )
    with_length = b"PUT /bucket/a HTTP/1.1\r\n%scontent-length: %d\r\n\r\n%s" % (headers, len(body), body)
    chunked = (
        b"PUT /bucket/b HTTP/1.1\r\n%stransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        b"%x\r\n%s\r\n0\r\n\r\n" % (headers, len(body), body)
    )
    answers = speak(with_length + chunked)
    assert answers.count(b"HTTP/1.1 200") == 2
    assert answers.count(b"x-amz-checksum-crc32: NhCmhg==") == 2
    for key in ("a", "b"):
        assert read(key) == b"hello"
        assert "ContentEncoding" not in s3.head_object(Bucket="bucket", Key=key)


def test_a_client_that_asks_before_it_sends(speak: Any, read: Read) -> None:
    answer = speak(
        b"PUT /bucket/small HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\nconnection: close\r\n"
        b"content-length: 5\r\n\r\nhello"
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue")
    assert b"HTTP/1.1 200" in answer
    assert read("small") == b"hello"


def test_a_large_body_is_refused_before_it_is_sent(speak: Any) -> None:
    request = (
        b"PUT /none/k HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ncontent-length: 50000000\r\n\r\n"
    )
    answer = speak(request)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"connection: close" in answer.lower()
    assert b"NoSuchBucket" in answer


def test_bytes_of_a_folder_are_refused_before_they_are_sent(speak: Any) -> None:
    answer = speak(
        b"PUT /bucket/folder/ HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\n"
        b"content-length: 50000000\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"ends in a slash" in answer


def test_a_connection_goes_on_after_a_refusal(send: Any) -> None:
    assert send("PUT", "/none/k", b"x" * 1000).status == 404
    assert send("PUT", "/bucket/k", b"x" * 1000).status == 200


@pytest.mark.parametrize("sent", [1000, 3_000_000])
def test_an_upload_that_breaks_off_leaves_nothing(
    service: Service, s3: Any, read: Read, keys: Keys, sent: int
) -> None:
    s3.put_object(Bucket="bucket", Key="old", Body=b"old")
    connection = http.client.HTTPConnection("127.0.0.1", service.server.port, timeout=10)
    connection.putrequest("PUT", "/bucket/old")
    connection.putheader("content-length", "10000000")
    connection.endheaders()
    connection.send(b"x" * sent)
    connection.close()
    assert keys() == ["old"]
    assert read("old") == b"old"
    service.restart()
    assert files_of(service) == [service.config.s3_root / "bucket/old"]


def test_what_a_killed_service_left_is_swept(service: Service, s3: Any) -> None:
    left = service.config.home / "s3-incoming/bodies/half"
    left.write_bytes(b"x")
    service.restart()
    assert not left.exists()


def test_a_full_disk(
    service: Service, s3: Any, refused: Refused, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket="bucket", Key="from", Body=b"x" * 2000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage(10**9, 10**9, files.SPARE + 1000))
    put = {"Bucket": "bucket", "Key": "k", "Body": b"x" * 2000}
    message = refused(s3.put_object, "InsufficientStorage", **put)
    assert "disk that holds the local SageMaker's home folder is full" in message
    refused(s3.copy_object, "InsufficientStorage", Bucket="bucket", Key="k", CopySource="bucket/from")
    with pytest.raises(s3.exceptions.ClientError) as caught:
        s3.put_object(**{**put, "Body": b"x" * 3_000_000})
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 507
    s3.put_object(Bucket="bucket", Key="small", Body=b"x" * 500)
    assert keys() == ["from", "small"]
    assert len(files_of(service)) == 2


def test_a_long_copy_keeps_its_client_waiting(
    service: Service, send: Any, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.patience = 0.05
    service.restart()
    s3 = service.client("s3")
    s3.put_object(Bucket="bucket", Key="from", Body=b"x" * 1000)
    copy = objectops.copy

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.2)
        return copy(*arguments)

    monkeypatch.setattr("local.s3.objectops.copy", slowly)
    copied = s3.copy_object(Bucket="bucket", Key="to", CopySource="bucket/from")
    assert copied["CopyObjectResult"]["ETag"] == s3.head_object(Bucket="bucket", Key="from")["ETag"]
    assert read("to") == b"x" * 1000

    def fail(*_: Any) -> None:
        time.sleep(0.2)
        raise S3Error(503, "SlowDown", "Please reduce your request rate.")

    monkeypatch.setattr("local.s3.objectops.copy", fail)
    answer = send("PUT", "/bucket/to", x_amz_copy_source="bucket/from")
    assert (answer.status, answer.code) == (200, "SlowDown")
    with pytest.raises(s3.exceptions.ClientError, match="SlowDown"):
        s3.copy_object(Bucket="bucket", Key="to", CopySource="bucket/from")


def test_a_failure_of_ours_says_where_to_look(
    service: Service, s3: Any, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("local.s3.objects.names.check_key", fail)
    message = refused(s3.put_object, "InternalError", Bucket="bucket", Key="k", Body=b"x")
    assert message == "The local S3 failed (RuntimeError); the service's own log has the details."


def test_a_download_that_is_abandoned_ends(
    service: Service, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = 4096
    with (service.config.s3_root / "bucket/large").open("wb") as file:
        file.truncate(blocks << 20)
    reads: list[int] = []
    closed = threading.Event()
    read, close = files.Outgoing.read, files.Outgoing.close

    def counted(outgoing: files.Outgoing) -> bytes:
        reads.append(outgoing.size)
        return read(outgoing)

    def close_and_tell(outgoing: files.Outgoing) -> None:
        close(outgoing)
        closed.set()

    monkeypatch.setattr(files.Outgoing, "read", counted)
    monkeypatch.setattr(files.Outgoing, "close", close_and_tell)
    with socket.create_connection(("127.0.0.1", service.server.port), timeout=10) as connection:
        connection.sendall(b"GET /bucket/large HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert closed.wait(30)
    assert len(reads) < blocks // 2


@pytest.mark.parametrize(
    "query",
    [
        "x-amz-meta-a=1%0d%0aX:y",
        "x-amz-meta-a=%7f",
        "x-amz-meta-a%20b=1",
        "x-amz-meta-%c3%bc=1",
        "x-amz-website-redirect-location=/%00",
    ],
)
def test_what_no_header_can_hold_is_refused(s3: Any, send: Any, keys: Keys, query: str) -> None:
    assert send("PUT", f"/bucket/k?{query}", b"x").code == "InvalidArgument"
    assert keys() == []


def test_a_note_that_no_header_can_hold_is_an_error_and_no_broken_connection(
    send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.s3.described.check_header", lambda name, value: None)
    assert send("PUT", "/bucket/k?x-amz-meta-a=1%0aX:y", b"x").status == 200
    answer = send("GET", "/bucket/k")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert "x-amz-meta-a" in answer.xml.findtext("Message", "")


def test_lengths_and_ranges_that_are_no_machines_numbers(s3: Any, send: Any) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    digits = "9" * 5000
    chunked = {
        "x_amz_content_sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x_amz_decoded_content_length": digits,
    }
    assert send("PUT", "/bucket/k", b"0\r\n\r\n", **chunked).status == 400
    assert send("POST", "/bucket?delete", b"0\r\n\r\n", **chunked).status == 400
    upload = s3.create_multipart_upload(Bucket="bucket", Key="p")["UploadId"]
    copied = {"x_amz_copy_source": "bucket/k", "x_amz_copy_source_range": f"bytes=0-{digits}"}
    assert send("PUT", f"/bucket/p?partNumber=1&uploadId={upload}", **copied).status == 400


@pytest.mark.parametrize("letter", ["\x01", "\r", "\x7f", "\ufffe"])
def test_an_error_can_be_read_whatever_the_key(s3: Any, letter: str) -> None:
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="bucket", Key=f"a{letter}b")


def test_xml_is_not_parsed_on_the_event_loop(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    parse = xmlbody.parse

    def noted(body: bytes) -> Any:
        threads.append(threading.current_thread().name)
        return parse(body)

    monkeypatch.setattr(xmlbody, "parse", noted)
    s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k"}]})
    assert [name.partition("_")[0] for name in threads] == ["s3"]
