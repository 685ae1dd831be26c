from __future__ import annotations

import pytest

from local.s3.errors import S3Error
from local.s3.model import Model, parse_path, parse_query

ALL = (
    "AbortMultipartUpload", "CompleteMultipartUpload", "CopyObject", "CreateMultipartUpload", "DeleteObject",
    "GetBucketLifecycleConfiguration", "GetObject", "ListBuckets", "ListObjects", "ListObjectsV2",
    "ListParts", "PutObject", "UploadPart", "UploadPartCopy",
)  # fmt: skip


@pytest.mark.parametrize(
    ("method", "level", "query", "copies", "operation"),
    [
        ("GET", 0, "", False, "ListBuckets"),
        ("GET", 1, "prefix=a", False, "ListObjects"),
        ("GET", 1, "list-type=2", False, "ListObjectsV2"),
        ("GET", 1, "lifecycle", False, "GetBucketLifecycleConfiguration"),
        ("GET", 2, "", False, "GetObject"),
        ("GET", 2, "uploadId=1", False, "ListParts"),
        ("PUT", 2, "", False, "PutObject"),
        ("PUT", 2, "x-id=PutObject", False, "PutObject"),
        ("PUT", 2, "", True, "CopyObject"),
        ("PUT", 2, "uploadId=1&partNumber=2", False, "UploadPart"),
        ("PUT", 2, "uploadId=1&partNumber=2", True, "UploadPartCopy"),
        ("POST", 2, "uploads", False, "CreateMultipartUpload"),
        ("POST", 2, "uploadId=1", False, "CompleteMultipartUpload"),
        ("DELETE", 2, "", False, "DeleteObject"),
        ("DELETE", 2, "uploadId=1", False, "AbortMultipartUpload"),
    ],
)
def test_which_operation_a_request_is_for(
    method: str, level: int, query: str, copies: bool, operation: str
) -> None:
    assert Model(ALL).route(method, level, parse_query(query.encode()), copies=copies).name == operation


def test_what_is_not_implemented_is_named() -> None:
    with pytest.raises(S3Error, match=r"does not implement RestoreObject\.") as caught:
        Model(ALL).route("POST", 2, {"restore": ""}, copies=False)
    assert caught.value.status == 501
    with pytest.raises(S3Error) as caught:
        Model(ALL).route("PATCH", 2, {}, copies=False)
    assert caught.value.status == 405


def test_an_operation_that_s3_does_not_have() -> None:
    with pytest.raises(ValueError, match="S3 has no operation PutThing"):
        Model(["PutObject", "PutThing"])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"/", ("", "")),
        (b"/b", ("b", "")),
        (b"/b/", ("b", "")),
        (b"/b//k", ("b", "/k")),
        (b"/b/a%20%2Bc+d", ("b", "a +c+d")),
        (b"/b/%C3%BC/", ("b", "ü/")),
    ],
)
def test_paths(raw: bytes, expected: tuple[str, str]) -> None:
    assert parse_path(raw) == expected
