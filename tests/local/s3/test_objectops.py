from __future__ import annotations

import base64
import datetime
import hashlib
import os
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import pytest
from botocore.exceptions import ClientError

Service = Any  # conftest.Service
Refused = Callable[..., str]
Read = Callable[..., bytes]
Keys = Callable[..., list[str]]

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


# --- bytes ---------------------------------------------------------------------------------------------


def test_what_is_put_is_a_plain_file(service: Service, s3: Any, read: Read) -> None:
    body = os.urandom(100_000)
    etag = s3.put_object(Bucket="bucket", Key="data/train/1.png", Body=body)["ETag"]
    assert etag == f'"{hashlib.md5(body).hexdigest()}"'
    assert service.config.bucket_path("s3://bucket/data/train/1.png").read_bytes() == body
    assert read("data/train/1.png") == body
    head = s3.head_object(Bucket="bucket", Key="data/train/1.png")
    assert (head["ContentLength"], head["ETag"], head["AcceptRanges"]) == (100_000, etag, "bytes")
    assert abs(head["LastModified"] - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(seconds=60)


def test_an_empty_object(s3: Any, read: Read, keys: Keys) -> None:
    s3.put_object(Bucket="bucket", Key="empty", Body=b"")
    assert read("empty") == b""
    assert keys() == ["empty"]


def test_odd_keys(service: Service, s3: Any, read: Read, keys: Keys) -> None:
    for key in ODD:
        s3.put_object(Bucket="bucket", Key=key, Body=key.encode())
        assert read(key) == key.encode()
        assert keys() == [key]
        assert service.config.bucket_path(f"s3://bucket/{key}").is_file()
        s3.copy_object(Bucket="bucket", Key="copy", CopySource={"Bucket": "bucket", "Key": key})
        s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key}, {"Key": "copy"}]})
        assert keys() == []


def test_more_than_a_block(service: Service, s3: Any, read: Read) -> None:
    body = os.urandom(5_000_000)
    s3.put_object(Bucket="bucket", Key="large", Body=body)
    assert read("large") == body
    assert read("large", Range="bytes=1000000-3999999") == body[1_000_000:4_000_000]


def test_many_at_once(s3: Any, read: Read, keys: Keys) -> None:
    def put_and_get(number: int) -> bool:
        body = str(number).encode() * 500
        s3.put_object(Bucket="bucket", Key=f"n/{number}", Body=body)
        return read(f"n/{number}") == body

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(put_and_get, range(80)))
    assert len(keys()) == 80


def test_what_is_not_there(s3: Any, refused: Refused) -> None:
    refused(s3.get_object, "NoSuchKey", Bucket="bucket", Key="none")
    refused(s3.head_object, "404", Bucket="bucket", Key="none")
    refused(s3.get_object, "NoSuchBucket", Bucket="none", Key="none")
    refused(s3.put_object, "NoSuchBucket", Bucket="none", Key="none", Body=b"x" * 2_000_000)
    refused(s3.delete_objects, "NoSuchBucket", Bucket="none", Delete={"Objects": [{"Key": "k"}]})
    s3.delete_object(Bucket="bucket", Key="none")  # as on AWS, no error
    for key in ("é" * 128, "é" * 128 + "/a", "a//b", "folder", "folder/"):
        refused(s3.get_object, "NoSuchKey", Bucket="bucket", Key=key)
        s3.delete_object(Bucket="bucket", Key=key)


@pytest.mark.parametrize(
    ("key", "says"),
    [("a\nb", "control characters"), ("é" * 128, "more than 255 bytes"), ("p/q", "'p' is there"),
     ("d", "'d/' is there"), ("a//b", "is empty"), ("d/e/", "'d/e' is there"), ("../x", "'..'")],
)  # fmt: skip
def test_keys_that_files_cannot_hold(
    service: Service, s3: Any, keys: Keys, refused: Refused, key: str, says: str
) -> None:
    service.put("s3://bucket/p", b"old")
    service.put("s3://bucket/d/e", b"old")
    message = refused(s3.put_object, "InvalidArgument", Bucket="bucket", Key=key, Body=b"")
    assert repr(key) in message
    assert says in message
    refused(s3.create_multipart_upload, "InvalidArgument", Bucket="bucket", Key=key)
    refused(s3.copy_object, "InvalidArgument", Bucket="bucket", Key=key, CopySource="bucket/p")
    assert keys() == ["d/e", "p"]


def test_a_folder_that_is_empty_is_no_object(service: Service, s3: Any, read: Read) -> None:
    service.config.bucket_path("s3://bucket/a/b/c").mkdir(parents=True)
    s3.put_object(Bucket="bucket", Key="a", Body=b"x")
    assert read("a") == b"x"


# --- what is said of an object ---------------------------------------------------------------------------

SAID = {
    "ContentType": "image/png",
    "CacheControl": "max-age=60",
    "ContentDisposition": 'attachment; filename="a.png"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de",
    "Metadata": {"epoch": "3", "mtime": "1700000000.5"},
    "StorageClass": "STANDARD_IA",
    "WebsiteRedirectLocation": "/other",
    "ServerSideEncryption": "aws:kms",
    "SSEKMSKeyId": "alias/key",
}


def test_what_is_said_comes_back_after_a_restart_too(service: Service, s3: Any) -> None:
    expires = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    s3.put_object(Bucket="bucket", Key="k", Body=b"x", Expires=expires, **SAID)
    service.restart()
    s3 = service.client("s3")
    got = s3.get_object(Bucket="bucket", Key="k")
    got["Body"].close()
    for answer in (s3.head_object(Bucket="bucket", Key="k"), got):
        assert {name: answer[name] for name in SAID} == SAID
        assert answer["ExpiresString"] == formatdate(expires.timestamp(), usegmt=True)
    assert s3.list_objects_v2(Bucket="bucket")["Contents"][0]["StorageClass"] == "STANDARD_IA"


def test_names_of_metadata_are_in_lower_case(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"x", Metadata={"MixedCase": "Value"})
    assert s3.head_object(Bucket="bucket", Key="k")["Metadata"] == {"mixedcase": "Value"}


def test_nothing_is_said_of_a_file_that_a_job_wrote(service: Service, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"old", **SAID)
    service.put("s3://bucket/k", b"new")
    head = s3.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert head["ContentType"] == "binary/octet-stream"
    assert head["Metadata"] == {}
    assert head["ETag"].endswith('-1"')
    assert "ChecksumCRC32" not in head
    again = s3.head_object(Bucket="bucket", Key="k")
    assert again["ETag"] == head["ETag"] == s3.list_objects_v2(Bucket="bucket")["Contents"][0]["ETag"]
    service.put("s3://bucket/k", b"newer")
    assert s3.head_object(Bucket="bucket", Key="k")["ETag"] != head["ETag"]


def test_an_object_that_replaces_another_has_only_its_own_metadata(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"old", **SAID)
    s3.put_object(Bucket="bucket", Key="k", Body=b"new")
    assert s3.head_object(Bucket="bucket", Key="k")["Metadata"] == {}


def test_a_file_that_a_channel_links_to_is_replaced_and_not_written_to(
    service: Service, s3: Any, read: Read
) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"old")
    linked = service.config.home / "linked"
    path = service.config.bucket_path("s3://bucket/k")
    os.link(path, linked)
    path.chmod(0o400)
    assert s3.head_object(Bucket="bucket", Key="k")["ETag"] == f'"{hashlib.md5(b"old").hexdigest()}"'
    s3.put_object(Bucket="bucket", Key="k", Body=b"new")
    assert (read("k"), linked.read_bytes()) == (b"new", b"old")


def test_what_is_not_done_is_refused(s3: Any, refused: Refused) -> None:
    put = {"Bucket": "bucket", "Key": "k", "Body": b"x"}
    refused(s3.put_object, "NotImplemented", **put, ObjectLockLegalHoldStatus="ON")
    refused(s3.put_object, "NotImplemented", **put, SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32)
    refused(s3.put_object, "AccessControlListNotSupported", **put, ACL="public-read")
    refused(s3.put_object, "AccessControlListNotSupported", **put, GrantRead="id=1")
    refused(s3.put_object, "InvalidStorageClass", **put, StorageClass="GLACIER")
    refused(s3.put_object, "MetadataTooLarge", **put, Metadata={"a": "x" * 2100})
    refused(s3.head_object, "404", Bucket="bucket", Key="k", VersionId="abc")
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0
    s3.put_object(**put, ACL="bucket-owner-full-control")


# --- checksums -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_are_kept_and_come_back(service: Service, s3: Any, algorithm: str) -> None:
    put = s3.put_object(Bucket="bucket", Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
    name = f"Checksum{algorithm}"
    assert put["ChecksumType"] == "FULL_OBJECT"
    head = s3.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert head[name] == put[name]
    got = s3.get_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert (got[name], got["Body"].read()) == (put[name], b"hello")
    attributes = s3.get_object_attributes(
        Bucket="bucket", Key="k", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"]
    )
    assert attributes["Checksum"] == {name: put[name], "ChecksumType": "FULL_OBJECT"}
    assert attributes["ETag"] == put["ETag"].strip('"')
    assert (attributes["ObjectSize"], attributes["StorageClass"]) == (5, "STANDARD")
    [listed] = s3.list_objects_v2(Bucket="bucket")["Contents"]
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == ([algorithm], "FULL_OBJECT")
    # Of a part of the object it would be wrong.
    part = s3.get_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED", Range="bytes=0-1")
    assert (part["Body"].read(), name in part) == (b"he", False)


def test_a_checksum_that_does_not_fit_leaves_the_old_object(s3: Any, read: Read, refused: Refused) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"old")
    wrong = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()
    put = {"Bucket": "bucket", "Key": "k", "Body": b"new"}
    refused(s3.put_object, "BadDigest", **put, ChecksumCRC32=wrong)
    refused(
        s3.put_object, "BadDigest", **put, ContentMD5=base64.b64encode(hashlib.md5(b"x").digest()).decode()
    )
    refused(s3.put_object, "InvalidDigest", **put, ContentMD5="AAAA")
    assert read("k") == b"old"


@pytest.mark.parametrize("name", ["crc32c", "crc64nvme"])
def test_checksums_of_clients_with_awss_runtime(send: Any, name: str) -> None:
    known = {"crc32c": "mnG7TA==", "crc64nvme": "M3eFcAZSQlc="}  # of "hello": computed by awscrt
    good = send("PUT", "/bucket/k", b"hello", **{f"x_amz_checksum_{name}": known[name]})
    assert (good.status, good.headers[f"x-amz-checksum-{name}"]) == (200, known[name])
    assert send("PUT", "/bucket/k", b"hallo", **{f"x_amz_checksum_{name}": known[name]}).code == "BadDigest"


# --- ranges and conditions ---------------------------------------------------------------------------------


def test_a_range_is_partial_content(s3: Any, refused: Refused) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"0123456789")
    for text, expected, where in [
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=-100", b"0123456789", "bytes 0-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-", b"89", "bytes 8-9/10"),
    ]:
        got = s3.get_object(Bucket="bucket", Key="k", Range=text)
        assert (got["ResponseMetadata"]["HTTPStatusCode"], got["ContentRange"]) == (206, where)
        assert (got["ContentLength"], got["Body"].read()) == (len(expected), expected)
        head = s3.head_object(Bucket="bucket", Key="k", Range=text)
        assert (head["ResponseMetadata"]["HTTPStatusCode"], head["ContentLength"]) == (206, len(expected))
    refused(s3.get_object, "InvalidRange", Bucket="bucket", Key="k", Range="bytes=10-")


def test_a_range_of_another_object_than_was_meant(send: Any) -> None:
    etag = send("PUT", "/bucket/k", b"0123456789").headers["etag"]
    assert send("GET", "/bucket/k", range="bytes=0-1", if_range=etag).body == b"01"
    assert send("GET", "/bucket/k", range="bytes=0-1", if_range='"other"').body == b"0123456789"


def test_conditional_reads(s3: Any, refused: Refused) -> None:
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"x")["ETag"]
    modified = s3.head_object(Bucket="bucket", Key="k")["LastModified"]
    request = {"Bucket": "bucket", "Key": "k"}
    assert s3.get_object(**request, IfMatch=etag)["Body"].read() == b"x"
    refused(s3.get_object, "PreconditionFailed", **request, IfMatch="other")
    refused(s3.head_object, "412", **request, IfMatch="other")
    refused(s3.get_object, "304", **request, IfNoneMatch=etag)
    refused(s3.get_object, "304", **request, IfModifiedSince=modified)
    refused(s3.get_object, "PreconditionFailed", **request, IfUnmodifiedSince=datetime.datetime(2000, 1, 1))


def test_conditional_writes(s3: Any, read: Read, refused: Refused) -> None:
    request = {"Bucket": "bucket", "Key": "once", "Body": b"1"}
    second = {**request, "Body": b"2"}
    refused(s3.put_object, "NoSuchKey", **request, IfMatch="abc")
    etag = s3.put_object(**request, IfNoneMatch="*")["ETag"]
    refused(s3.put_object, "PreconditionFailed", **second, IfNoneMatch="*")
    refused(s3.put_object, "PreconditionFailed", **second, IfMatch="abc")
    assert read("once") == b"1"
    s3.put_object(**second, IfMatch=etag)
    refused(s3.put_object, "PreconditionFailed", **request, IfMatch=etag)
    assert read("once") == b"2"


def test_only_one_of_many_conditional_writes_wins(s3: Any) -> None:
    def write(number: int) -> bool:
        try:
            s3.put_object(Bucket="bucket", Key="lock", Body=str(number).encode(), IfNoneMatch="*")
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(24))) == 1


def test_headers_that_a_request_sets_for_its_answer(s3: Any, refused: Refused) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"x", ContentType="text/plain")
    got = s3.get_object(
        Bucket="bucket", Key="k", ResponseContentType="text/html", ResponseContentDisposition="attachment"
    )
    assert (got["ContentType"], got["ContentDisposition"]) == ("text/html", "attachment")
    assert got["Body"].read() == b"x"
    refused(s3.get_object, "InvalidArgument", Bucket="bucket", Key="k", ResponseContentType="a\r\nb: c")
    refused(s3.get_object, "InvalidArgument", Bucket="bucket", Key="k", ResponseContentType="a\x7f")


def test_a_simple_object_is_its_only_part(s3: Any, refused: Refused) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"whole")
    got = s3.get_object(Bucket="bucket", Key="k", PartNumber=1)
    assert (got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()) == (206, b"whole")
    assert "PartsCount" not in got
    refused(s3.get_object, "InvalidPartNumber", Bucket="bucket", Key="k", PartNumber=2)


# --- copies ----------------------------------------------------------------------------------------------


def test_a_copy_has_what_its_source_has(s3: Any, read: Read) -> None:
    source = s3.put_object(Bucket="bucket", Key="from ü?", Body=b"text", Tagging="a=1", **SAID)
    copied = s3.copy_object(Bucket="bucket", Key="to", CopySource={"Bucket": "bucket", "Key": "from ü?"})
    assert copied["CopyObjectResult"]["ETag"] == source["ETag"]
    assert copied["CopyObjectResult"]["ChecksumCRC32"] == source["ChecksumCRC32"]
    assert read("to") == b"text"
    head = s3.head_object(Bucket="bucket", Key="to")
    assert (head["ContentType"], head["Metadata"]) == (SAID["ContentType"], SAID["Metadata"])
    assert "StorageClass" not in head  # as on AWS, that is the copy's own
    assert s3.get_object_tagging(Bucket="bucket", Key="to")["TagSet"] == [{"Key": "a", "Value": "1"}]


def test_a_copy_with_metadata_of_its_own(s3: Any, refused: Refused) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"text", Tagging="a=1", **SAID)
    onto_itself = {"Bucket": "bucket", "Key": "k", "CopySource": "bucket/k"}
    refused(s3.copy_object, "InvalidRequest", **onto_itself)
    s3.copy_object(
        **onto_itself, MetadataDirective="REPLACE", Metadata={"new": "1"}, ContentType="text/css",
        TaggingDirective="REPLACE", Tagging="b=2",
    )  # fmt: skip
    head = s3.head_object(Bucket="bucket", Key="k")
    assert (head["Metadata"], head["ContentType"]) == ({"new": "1"}, "text/css")
    assert "CacheControl" not in head
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"] == [{"Key": "b", "Value": "2"}]


def test_copies_that_are_refused(s3: Any, send: Any, refused: Refused) -> None:
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"x")["ETag"]
    to = {"Bucket": "bucket", "Key": "to"}
    refused(s3.copy_object, "NoSuchKey", **to, CopySource="bucket/none")
    refused(s3.copy_object, "NoSuchKey", **to, CopySource={"Bucket": "bucket", "Key": "é" * 128 + "/a"})
    refused(s3.copy_object, "NoSuchBucket", **to, CopySource="none/none")
    refused(s3.copy_object, "PreconditionFailed", **to, CopySource="bucket/k", CopySourceIfMatch="other")
    refused(s3.copy_object, "PreconditionFailed", **to, CopySource="bucket/k", CopySourceIfNoneMatch=etag)
    for source in ("bucket", "bucket/", "/"):
        answer = send("PUT", "/bucket/to", x_amz_copy_source=source)
        assert (answer.status, answer.code) == (400, "InvalidArgument")
    refused(s3.head_object, "404", **to)


# --- deleting --------------------------------------------------------------------------------------------


def test_many_are_deleted_at_once(s3: Any, keys: Keys, refused: Refused) -> None:
    for number in range(5):
        s3.put_object(Bucket="bucket", Key=f"k{number}", Body=b"x")
    wanted = [{"Key": f"k{number}"} for number in range(3)] + [{"Key": "none"}, {"Key": "a//b"}]
    answer = s3.delete_objects(Bucket="bucket", Delete={"Objects": wanted})
    assert answer["Deleted"] == wanted
    quiet = s3.delete_objects(
        Bucket="bucket",
        Delete={"Objects": [{"Key": "k3"}, {"Key": "k4", "VersionId": "1"}], "Quiet": True},
    )
    assert "Deleted" not in quiet
    assert [(each["Key"], each["Code"]) for each in quiet["Errors"]] == [("k4", "NoSuchVersion")]
    assert keys() == ["k4"]
    many = {"Objects": [{"Key": "k"}] * 1001}
    refused(s3.delete_objects, "MalformedXML", Bucket="bucket", Delete=many)


def test_folders_go_with_their_last_object(service: Service, s3: Any) -> None:
    for key in ("a/b/c", "a/d"):
        s3.put_object(Bucket="bucket", Key=key, Body=b"x")
    s3.delete_object(Bucket="bucket", Key="a/b/c")
    folder = service.config.bucket_path("s3://bucket/")
    assert sorted(path.name for path in folder.rglob("*")) == ["a", "d"]
    s3.delete_object(Bucket="bucket", Key="a/d")
    assert not list(folder.iterdir())
    s3.head_bucket(Bucket="bucket")


def test_a_conditional_delete(s3: Any, keys: Keys, refused: Refused) -> None:
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"x")["ETag"]
    refused(s3.delete_object, "PreconditionFailed", Bucket="bucket", Key="k", IfMatch="other")
    assert keys() == ["k"]
    s3.delete_object(Bucket="bucket", Key="k", IfMatch=etag)
    assert keys() == []


# --- folder markers ----------------------------------------------------------------------------------------


def test_a_folder_marker_is_an_object_that_blocks_nothing(
    service: Service, s3: Any, read: Read, keys: Keys
) -> None:
    s3.put_object(Bucket="bucket", Key="new/", Body=b"", ContentType="application/x-directory")
    assert read("new/") == b""
    s3.put_object(Bucket="bucket", Key="new/inside", Body=b"x")
    assert keys() == ["new/", "new/inside"]
    assert keys(Prefix="new/") == ["new/", "new/inside"]
    page = s3.list_objects_v2(Bucket="bucket", Delimiter="/")
    assert [each["Prefix"] for each in page["CommonPrefixes"]] == ["new/"]
    assert "Contents" not in page
    service.restart()
    s3 = service.client("s3")
    head = s3.head_object(Bucket="bucket", Key="new/")
    assert (head["ContentLength"], head["ContentType"]) == (0, "application/x-directory")
    assert head["ETag"] == '"d41d8cd98f00b204e9800998ecf8427e"'
    s3.delete_object(Bucket="bucket", Key="new/inside")
    s3.head_object(Bucket="bucket", Key="new/")
    s3.delete_object(Bucket="bucket", Key="new/")
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")
    assert not service.config.bucket_path("s3://bucket/new").exists()


def test_a_folder_that_nobody_marked_is_no_object(service: Service, s3: Any, refused: Refused) -> None:
    service.put("s3://bucket/out/file", b"x")
    refused(s3.head_object, "404", Bucket="bucket", Key="out/")
    s3.put_object(Bucket="bucket", Key="out/")
    s3.head_object(Bucket="bucket", Key="out/")
    s3.delete_object(Bucket="bucket", Key="out/")
    assert service.config.bucket_path("s3://bucket/out/file").is_file()


def test_a_marker_holds_no_bytes(s3: Any, refused: Refused) -> None:
    message = refused(s3.put_object, "InvalidArgument", Bucket="bucket", Key="new/", Body=b"x")
    assert message.startswith("The key 'new/' ends in a slash")
    s3.put_object(Bucket="bucket", Key="new/")
    refused(s3.put_object, "InvalidArgument", Bucket="bucket", Key="new", Body=b"x")
    s3.copy_object(Bucket="bucket", Key="copied/", CopySource="bucket/new/")
    s3.head_object(Bucket="bucket", Key="copied/")


# --- tags ------------------------------------------------------------------------------------------------


def test_tags_of_objects(service: Service, s3: Any, refused: Refused) -> None:
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"x", Tagging="a=1&b=two%20words")["ETag"]
    assert s3.head_object(Bucket="bucket", Key="k")["TagCount"] == 2
    tags = [{"Key": "c", "Value": "3"}]
    s3.put_object_tagging(Bucket="bucket", Key="k", Tagging={"TagSet": tags})
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"] == tags
    assert s3.head_object(Bucket="bucket", Key="k")["ETag"] == etag
    s3.delete_object_tagging(Bucket="bucket", Key="k")
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"] == []
    refused(s3.get_object_tagging, "NoSuchKey", Bucket="bucket", Key="none")
    twice = {"TagSet": [*tags, *tags]}
    refused(s3.put_object_tagging, "InvalidTag", Bucket="bucket", Key="k", Tagging=twice)
    system = {"TagSet": [{"Key": "aws:x", "Value": ""}]}
    refused(s3.put_object_tagging, "InvalidTag", Bucket="bucket", Key="k", Tagging=system)
    many = {"TagSet": [{"Key": str(number), "Value": ""} for number in range(11)]}
    refused(s3.put_object_tagging, "BadRequest", Bucket="bucket", Key="k", Tagging=many)


def test_a_file_that_a_job_wrote_can_be_tagged(service: Service, s3: Any) -> None:
    service.put("s3://bucket/out", b"x")
    etag = s3.head_object(Bucket="bucket", Key="out")["ETag"]
    s3.put_object_tagging(Bucket="bucket", Key="out", Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    head = s3.head_object(Bucket="bucket", Key="out")
    assert (head["ETag"], head["TagCount"]) == (etag, 1)


# --- files that jobs write -------------------------------------------------------------------------------


def test_what_a_job_writes_changes_and_removes_is_seen(
    service: Service, s3: Any, read: Read, keys: Keys, refused: Refused
) -> None:
    assert keys(Prefix="out/") == []
    refused(s3.get_object, "NoSuchKey", Bucket="bucket", Key="out/job/model.tar.gz")
    file = service.put("s3://bucket/out/job/model.tar.gz", b"first")
    assert read("out/job/model.tar.gz") == b"first"
    assert keys(Prefix="out/") == ["out/job/model.tar.gz"]
    file.write_bytes(b"the second is longer")
    assert read("out/job/model.tar.gz") == b"the second is longer"
    service.put("s3://bucket/out/job/more", b"x")
    assert keys() == ["out/job/model.tar.gz", "out/job/more"]
    file.unlink()
    refused(s3.get_object, "NoSuchKey", Bucket="bucket", Key="out/job/model.tar.gz")
    assert keys() == ["out/job/more"]
    s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/out/job/more")
    s3.delete_object(Bucket="bucket", Key="out/job/more")
    assert keys() == ["copy"]


def test_links_are_no_objects(service: Service, s3: Any, keys: Keys, refused: Refused) -> None:
    secret = service.config.home / "secret"
    secret.write_text("x")
    bucket = service.config.bucket_path("s3://bucket/")
    (bucket / "link").symlink_to(secret)
    (bucket / "folder").symlink_to(service.config.home)
    assert keys() == []
    refused(s3.get_object, "NoSuchKey", Bucket="bucket", Key="link")
    refused(s3.get_object, "NoSuchKey", Bucket="bucket", Key="folder/secret")
    refused(s3.put_object, "InvalidArgument", Bucket="bucket", Key="folder/secret", Body=b"y")
    s3.delete_object(Bucket="bucket", Key="folder/secret")
    assert secret.read_text() == "x"


def test_reads_go_on_while_a_job_writes(service: Service, s3: Any, read: Read) -> None:
    """No answer is a mixture, and none is an error."""
    service.put("s3://bucket/out/file", b"a" * 3_000_000)
    over = threading.Event()

    def rewrite() -> None:
        number = 0
        while not over.wait(0.01):
            number += 1
            aside = service.put(
                "s3://bucket/aside", b"ab"[number % 2 : number % 2 + 1] * (3_000_000 + number)
            )
            aside.replace(service.config.bucket_path("s3://bucket/out/file"))

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for _ in range(30):
            assert len(set(read("out/file"))) == 1
    finally:
        over.set()
        thread.join()
