from __future__ import annotations

import base64
import hashlib
import os
import sqlite3
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import boto3.s3.transfer
import pytest

Service = Any  # conftest.Service
Refused = Callable[..., str]
Read = Callable[..., bytes]
Keys = Callable[..., list[str]]

MB5 = 5 << 20
IN_PARTS = boto3.s3.transfer.TransferConfig(multipart_threshold=MB5, multipart_chunksize=MB5)


@pytest.fixture
def begin(s3: Any) -> Callable[..., dict[str, str]]:
    """Begins an upload; what every further request about it names."""

    def begin(key: str = "large", **members: Any) -> dict[str, str]:
        answer = s3.create_multipart_upload(Bucket="bucket", Key=key, **members)
        return {"Bucket": "bucket", "Key": key, "UploadId": answer["UploadId"]}

    return begin


def put(s3: Any, upload: dict[str, str], *bodies: bytes, **members: Any) -> dict[str, Any]:
    """Uploads parts; the list of them as CompleteMultipartUpload takes it."""
    parts = []
    for number, body in enumerate(bodies, 1):
        answer = s3.upload_part(**upload, PartNumber=number, Body=body, **members)
        sums = {
            name: value
            for name, value in answer.items()
            if name.startswith("Checksum") and name != "ChecksumType"
        }
        parts.append({"PartNumber": number, "ETag": answer["ETag"], **sums})
    return {"Parts": parts}


def leftovers(service: Service) -> list[Path]:
    return [path for path in (service.config.home / "s3-incoming").rglob("*") if path.is_file()]


def test_a_large_file_in_parts(service: Service, s3: Any, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(12 << 20))
    extra = {"ContentType": "image/png", "Metadata": {"a": "1"}, "Tagging": "t=1"}
    s3.upload_file(str(file), "bucket", "large", Config=IN_PARTS, ExtraArgs=extra)
    assert service.config.bucket_path("s3://bucket/large").read_bytes() == file.read_bytes()
    s3.download_file("bucket", "large", str(tmp_path / "back"), Config=IN_PARTS)
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    head = s3.head_object(Bucket="bucket", Key="large")
    assert (head["ContentType"], head["Metadata"], head["TagCount"]) == ("image/png", {"a": "1"}, 1)
    body = file.read_bytes()
    digests = b"".join(hashlib.md5(body[at : at + MB5]).digest() for at in range(0, len(body), MB5))
    assert head["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    assert leftovers(service) == []


def test_a_large_copy_inside_s3(service: Service, s3: Any) -> None:
    """boto3's managed copy: CreateMultipartUpload, UploadPartCopy with ranges, CompleteMultipartUpload."""
    body = os.urandom(12 << 20)
    s3.put_object(Bucket="bucket", Key="from", Body=body, Metadata={"a": "1"})
    s3.copy({"Bucket": "bucket", "Key": "from"}, "bucket", "to", Config=IN_PARTS)
    assert service.config.bucket_path("s3://bucket/to").read_bytes() == body
    assert s3.head_object(Bucket="bucket", Key="to")["ETag"].endswith('-3"')


def test_parts_that_are_copied(s3: Any, read: Read, begin: Any, refused: Refused) -> None:
    s3.put_object(Bucket="bucket", Key="from", Body=b"0123456789")
    upload = begin("to")
    copy = {**upload, "PartNumber": 1, "CopySource": "bucket/from"}
    part = s3.upload_part_copy(**copy, CopySourceRange="bytes=2-4")["CopyPartResult"]
    assert part["ETag"] == f'"{hashlib.md5(b"234").hexdigest()}"'
    for text in ("bytes=2-10", "bytes=4-2", "bytes=2-", "2-4"):
        refused(s3.upload_part_copy, "InvalidArgument", **copy, CopySourceRange=text)
    refused(s3.upload_part_copy, "NoSuchKey", **{**copy, "CopySource": "bucket/none"})
    refused(s3.upload_part_copy, "PreconditionFailed", **copy, CopySourceIfMatch="other")
    s3.complete_multipart_upload(
        **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert read("to") == b"234"


def test_the_answers_of_an_upload(s3: Any, begin: Any) -> None:
    upload = begin("a ü", ContentType="text/css", ChecksumAlgorithm="SHA256")
    parts = put(s3, upload, b"a" * MB5, b"b", ChecksumAlgorithm="SHA256")
    listed = s3.list_parts(**upload)
    assert [(part["PartNumber"], part["Size"]) for part in listed["Parts"]] == [(1, MB5), (2, 1)]
    assert [part["ETag"] for part in listed["Parts"]] == [part["ETag"] for part in parts["Parts"]]
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == ("SHA256", "COMPOSITE")
    page = s3.list_parts(**upload, MaxParts=1)
    assert (page["IsTruncated"], page["NextPartNumberMarker"]) == (True, 1)
    assert s3.list_parts(**upload, PartNumberMarker=1)["Parts"][0]["PartNumber"] == 2
    [found] = s3.list_multipart_uploads(Bucket="bucket")["Uploads"]
    assert (found["Key"], found["UploadId"]) == ("a ü", upload["UploadId"])
    done = s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert (done["Bucket"], done["Key"]) == ("bucket", "a ü")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="bucket")
    attributes = s3.get_object_attributes(
        Bucket="bucket", Key="a ü", ObjectAttributes=["Checksum", "ObjectParts"], MaxParts=1
    )
    assert attributes["Checksum"]["ChecksumSHA256"] == done["ChecksumSHA256"]
    parts_of_it = attributes["ObjectParts"]
    assert (parts_of_it["TotalPartsCount"], parts_of_it["IsTruncated"], parts_of_it["Parts"][0]["Size"]) == (
        2,
        True,
        MB5,
    )
    part = s3.get_object(Bucket="bucket", Key="a ü", PartNumber=2)
    assert (part["PartsCount"], part["Body"].read(), part["ContentRange"]) == (
        2,
        b"b",
        f"bytes {MB5}-{MB5}/{MB5 + 1}",
    )


def test_the_root_of_each_answer_has_awss_name(send: Any) -> None:
    """Clients on AWS's own runtime read nothing else."""
    begun = send("POST", "/bucket/k?uploads").xml
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    assert begun.tag == f"{space}InitiateMultipartUploadResult"
    upload = begun.findtext(f"{space}UploadId")
    assert send("GET", "/bucket?uploads").xml.tag == f"{space}ListMultipartUploadsResult"
    assert send("GET", f"/bucket/k?uploadId={upload}").xml.tag == f"{space}ListPartsResult"
    etag = send("PUT", f"/bucket/k?uploadId={upload}&partNumber=1", b"x").headers["etag"]
    part = f"<Part><ETag>{etag}</ETag><PartNumber>1</PartNumber></Part>"
    body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>"
    assert (
        send("POST", f"/bucket/k?uploadId={upload}", body).xml.tag == f"{space}CompleteMultipartUploadResult"
    )


def test_checksums_of_the_whole(s3: Any, begin: Any, refused: Refused) -> None:
    bodies = [os.urandom(MB5), b"end"]
    whole = base64.b64encode(zlib.crc32(b"".join(bodies)).to_bytes(4, "big")).decode()
    upload = begin(ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    parts = put(s3, upload, *bodies)
    request = {**upload, "MultipartUpload": parts, "ChecksumType": "FULL_OBJECT"}
    refused(s3.complete_multipart_upload, "BadDigest", **request, ChecksumCRC32="AAAAAA==")
    refused(s3.complete_multipart_upload, "InvalidRequest", **request, MpuObjectSize=7)
    done = s3.complete_multipart_upload(**request, ChecksumCRC32=whole, MpuObjectSize=MB5 + 3)
    assert (done["ChecksumCRC32"], done["ChecksumType"]) == (whole, "FULL_OBJECT")
    head = s3.head_object(Bucket="bucket", Key="large", ChecksumMode="ENABLED")
    assert (head["ChecksumCRC32"], head["ChecksumType"]) == (whole, "FULL_OBJECT")


def test_checksums_of_checksums(s3: Any, begin: Any) -> None:
    bodies = [os.urandom(MB5), b"end"]
    joined = b"".join(hashlib.sha1(body).digest() for body in bodies)
    upload = begin(ChecksumAlgorithm="SHA1")
    done = s3.complete_multipart_upload(
        **upload, MultipartUpload=put(s3, upload, *bodies, ChecksumAlgorithm="SHA1")
    )
    assert done["ChecksumSHA1"] == base64.b64encode(hashlib.sha1(joined).digest()).decode() + "-2"


def test_checksums_that_do_not_go_together(s3: Any, begin: Any, refused: Refused) -> None:
    create = {"Bucket": "bucket", "Key": "k"}
    refused(
        s3.create_multipart_upload,
        "InvalidRequest",
        **create,
        ChecksumAlgorithm="SHA1",
        ChecksumType="FULL_OBJECT",
    )
    refused(
        s3.create_multipart_upload,
        "InvalidRequest",
        **create,
        ChecksumAlgorithm="CRC64NVME",
        ChecksumType="COMPOSITE",
    )
    upload = begin(ChecksumAlgorithm="SHA256")
    refused(s3.upload_part, "InvalidRequest", **upload, PartNumber=1, Body=b"x", ChecksumAlgorithm="CRC32")


def test_lists_of_parts_that_are_refused(service: Service, s3: Any, begin: Any, refused: Refused) -> None:
    upload = begin()
    [one, two] = put(s3, upload, b"small", b"end")["Parts"]

    def refusal(*parts: Any) -> str:
        [code] = [
            code
            for code in ("InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML")
            if service_refuses(code, list(parts))
        ]
        return code

    def service_refuses(code: str, parts: list[Any]) -> bool:
        try:
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except s3.exceptions.ClientError as error:
            return bool(error.response["Error"]["Code"] == code)
        return False

    assert refusal(one, two) == "EntityTooSmall"
    assert refusal(two, one) == "InvalidPartOrder"
    assert refusal(one, one) == "InvalidPartOrder"
    assert refusal(one, {**two, "ETag": "other"}) == "InvalidPart"
    assert refusal(one, {**two, "PartNumber": 3}) == "InvalidPart"
    assert refusal({**one, "ChecksumCRC32": "AAAAAA=="}) == "InvalidPart"
    assert refusal() == "MalformedXML"
    assert s3.list_parts(**upload)["Parts"]
    for number in (0, 10_001):
        refused(s3.upload_part, "InvalidArgument", **upload, PartNumber=number, Body=b"x")


def test_a_part_that_is_sent_again_replaces_the_first(
    service: Service, s3: Any, read: Read, begin: Any
) -> None:
    upload = begin()
    put(s3, upload, b"first")
    parts = put(s3, upload, b"second")
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert read("large") == b"second"
    assert leftovers(service) == []


def test_an_upload_given_up_leaves_nothing(
    service: Service, s3: Any, keys: Keys, begin: Any, refused: Refused
) -> None:
    upload = begin("deep/in/folders")
    put(s3, upload, b"x" * MB5)
    assert keys() == []
    s3.abort_multipart_upload(**upload)
    assert keys() == []
    assert leftovers(service) == []
    refused(s3.upload_part, "NoSuchUpload", **upload, PartNumber=1, Body=b"x")
    refused(s3.abort_multipart_upload, "NoSuchUpload", **upload)
    refused(s3.list_parts, "NoSuchUpload", **upload)
    refused(s3.list_parts, "NoSuchUpload", **{**upload, "Key": "other"})
    s3.delete_bucket(Bucket="bucket")


def test_an_upload_outlives_the_service(service: Service, s3: Any, begin: Any) -> None:
    upload = begin(ContentType="text/css")
    [part] = put(s3, upload, b"kept")["Parts"]
    stray = service.config.home / "s3-incoming" / "parts" / "stray"
    stray.write_bytes(b"what a killed service left")
    service.restart()
    assert not stray.exists()
    s3 = service.client("s3")
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})
    assert s3.get_object(Bucket="bucket", Key="large")["Body"].read() == b"kept"
    assert s3.head_object(Bucket="bucket", Key="large")["ContentType"] == "text/css"


def test_a_bucket_takes_its_uploads_with_it(service: Service, s3: Any, begin: Any) -> None:
    put(s3, begin(), b"x")
    s3.delete_bucket(Bucket="bucket")
    assert leftovers(service) == []


def test_conditions_of_the_object_that_is_to_be(s3: Any, read: Read, begin: Any, refused: Refused) -> None:
    s3.put_object(Bucket="bucket", Key="large", Body=b"old")
    upload = begin()
    parts = put(s3, upload, b"new")
    refused(
        s3.complete_multipart_upload, "PreconditionFailed", **upload, MultipartUpload=parts, IfNoneMatch="*"
    )
    assert read("large") == b"old"
    s3.delete_object(Bucket="bucket", Key="large")
    s3.complete_multipart_upload(**upload, MultipartUpload=parts, IfNoneMatch="*")
    assert read("large") == b"new"


def test_uploads_are_listed_by_key_and_in_pages(s3: Any, begin: Any, refused: Refused) -> None:
    uploads = [begin(key) for key in ("b", "a", "c/1", "a")]
    every = s3.list_multipart_uploads(Bucket="bucket")["Uploads"]
    assert [each["Key"] for each in every] == ["a", "a", "b", "c/1"]
    assert {each["UploadId"] for each in every} == {upload["UploadId"] for upload in uploads}
    assert [each["Key"] for each in s3.list_multipart_uploads(Bucket="bucket", Prefix="c/")["Uploads"]] == [
        "c/1"
    ]
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket="bucket", PaginationConfig={"PageSize": 1}
    )
    assert [each["UploadId"] for page in pages for each in page.get("Uploads", [])] == [
        each["UploadId"] for each in every
    ]
    refused(s3.list_multipart_uploads, "NotImplemented", Bucket="bucket", Delimiter="/")
    refused(s3.list_multipart_uploads, "NoSuchBucket", Bucket="none")


def test_pages_of_no_size(s3: Any, begin: Any, refused: Refused, send: Any) -> None:
    upload = begin()
    put(s3, upload, b"a", b"b")
    begin("second")
    for listing, size, items in (
        (partial(s3.list_multipart_uploads, Bucket="bucket"), "MaxUploads", "Uploads"),
        (partial(s3.list_parts, **upload), "MaxParts", "Parts"),
    ):
        page = listing(**{size: 0})
        assert (page.get(items, []), page[size], page["IsTruncated"]) == ([], 0, False)
        refused(listing, "InvalidArgument", **{size: -1})
    refused(s3.list_parts, "InvalidArgument", **upload, PartNumberMarker=-1)
    answer = send("GET", "/?max-buckets=-1")
    assert (answer.code, answer.xml.findtext("ArgumentName")) == ("InvalidArgument", "max-buckets")
    assert send("GET", "/?max-buckets=0").status == 200


def test_pages_of_an_objects_parts(s3: Any, begin: Any, refused: Refused) -> None:
    upload = begin()
    s3.complete_multipart_upload(**upload, MultipartUpload=put(s3, upload, bytes(MB5), b"b"))
    ask = partial(s3.get_object_attributes, Bucket="bucket", Key="large", ObjectAttributes=["ObjectParts"])
    page = ask(MaxParts=1)["ObjectParts"]
    assert ([part["Size"] for part in page["Parts"]], page["IsTruncated"]) == ([MB5], True)
    page = ask(MaxParts=0)["ObjectParts"]
    assert (page.get("Parts", []), page["IsTruncated"]) == ([], False)
    refused(ask, "InvalidArgument", MaxParts=-1)
    refused(ask, "InvalidArgument", PartNumberMarker=-1)


def test_an_upload_whose_answer_was_lost_is_completed_again(
    service: Service, s3: Any, begin: Any, refused: Refused
) -> None:
    upload = begin(ChecksumAlgorithm="CRC32")
    parts = put(s3, upload, b"a", ChecksumAlgorithm="CRC32")
    request = {**upload, "MultipartUpload": parts, "IfNoneMatch": "*"}

    def complete(client: Any) -> dict[str, Any]:
        answer = client.complete_multipart_upload(**request)
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}

    first = complete(s3)
    assert complete(s3) == first
    service.restart()
    s3 = service.client("s3")
    assert complete(s3) == first
    refused(s3.complete_multipart_upload, "NoSuchUpload", **{**request, "Key": "other"})
    refused(s3.list_parts, "NoSuchUpload", **upload)
    s3.put_object(Bucket="bucket", Key="large", Body=b"another")
    refused(s3.complete_multipart_upload, "NoSuchUpload", **request)


def test_completed_uploads_are_forgotten_after_a_while(
    service: Service, s3: Any, begin: Any, refused: Refused
) -> None:
    first, second = begin("first"), begin("second")
    requests = [{**upload, "MultipartUpload": put(s3, upload, b"a")} for upload in (first, second)]
    for request in requests:
        s3.complete_multipart_upload(**request)
        with closing(sqlite3.connect(service.config.home / "s3.db")) as database, database:
            database.execute("UPDATE completed SET ended = ended - 24 * 3600 - 1")  # a day later
    refused(s3.complete_multipart_upload, "NoSuchUpload", **requests[0])


def test_many_parts_at_once(service: Service, s3: Any, begin: Any, read: Read) -> None:
    upload = begin()
    bodies = [bytes([number]) * MB5 for number in range(1, 9)]

    def send(number: int) -> dict[str, Any]:
        answer = s3.upload_part(**upload, PartNumber=number, Body=bodies[number - 1])
        return {"PartNumber": number, "ETag": answer["ETag"]}

    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(send, range(1, 9)))
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert read("large") == b"".join(bodies)
