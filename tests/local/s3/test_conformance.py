"""Every operation of the local S3, through boto3, against what its page of the API Reference promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

Service = Any  # conftest.Service

MD5 = '"5d41402abc4b2a76b9719d911017c592"'  # of "hello"
ANY = object()  # a member that must be there

# Operation → request beside the bucket, and what its answer must have: members, or the code of an error.
# The bucket has the object `k`, "hello", text/plain, with a tag; and an upload of `upload` with one part.
TABLE: Mapping[str, tuple[dict[str, Any], dict[str, Any] | str]] = {
    "AbortMultipartUpload": ({"Key": "upload", "UploadId": "UPLOAD"}, {"STATUS": 204}),
    "CompleteMultipartUpload": (
        {
            "Key": "upload",
            "UploadId": "UPLOAD",
            "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": MD5}]},
        },
        {
            "ETag": '"62109206880d38a4010a98e11243924a-1"',
            "Key": "upload",
            "Bucket": "bucket",
            "Location": ANY,
        },
    ),
    "CopyObject": (
        {"Key": "to", "CopySource": "bucket/k"},
        {"CopyObjectResult": {"ETag": MD5, "LastModified": ANY}, "ServerSideEncryption": "AES256"},
    ),
    "CreateBucket": ({"Bucket": "new-bucket"}, {"Location": "/new-bucket"}),
    "CreateMultipartUpload": ({"Key": "n"}, {"UploadId": ANY, "Bucket": "bucket", "Key": "n"}),
    "DeleteBucket": ({}, "BucketNotEmpty"),
    "DeleteBucketTagging": ({}, {"STATUS": 204}),
    "DeleteObject": ({"Key": "k"}, {"STATUS": 204}),
    "DeleteObjectTagging": ({"Key": "k"}, {"STATUS": 204}),
    "DeleteObjects": ({"Delete": {"Objects": [{"Key": "k"}]}}, {"Deleted": [{"Key": "k"}], "STATUS": 200}),
    "GetBucketAccelerateConfiguration": ({}, {"STATUS": 200}),
    "GetBucketAcl": ({}, {"Owner": {"ID": ANY}, "Grants": ANY}),
    "GetBucketCors": ({}, "NoSuchCORSConfiguration"),
    "GetBucketEncryption": ({}, {"ServerSideEncryptionConfiguration": ANY}),
    "GetBucketLifecycleConfiguration": ({}, "NoSuchLifecycleConfiguration"),
    "GetBucketLocation": ({}, {"LocationConstraint": None}),
    "GetBucketLogging": ({}, {"STATUS": 200}),
    "GetBucketNotificationConfiguration": ({}, {"STATUS": 200}),
    "GetBucketOwnershipControls": (
        {},
        {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}},
    ),
    "GetBucketPolicy": ({}, "NoSuchBucketPolicy"),
    "GetBucketPolicyStatus": ({}, "NoSuchBucketPolicy"),
    "GetBucketReplication": ({}, "ReplicationConfigurationNotFoundError"),
    "GetBucketRequestPayment": ({}, {"Payer": "BucketOwner"}),
    "GetBucketTagging": ({}, "NoSuchTagSet"),
    "GetBucketVersioning": ({}, {"STATUS": 200}),
    "GetBucketWebsite": ({}, "NoSuchWebsiteConfiguration"),
    "GetObject": (
        {"Key": "k"},
        {
            "Body": ANY,
            "ETag": MD5,
            "ContentLength": 5,
            "ContentType": "text/plain",
            "LastModified": ANY,
            "AcceptRanges": "bytes",
            "TagCount": 1,
            "ServerSideEncryption": "AES256",
            "Metadata": {"m": "1"},
        },
    ),
    "GetObjectAcl": ({"Key": "k"}, {"Owner": {"ID": ANY}, "Grants": ANY}),
    "GetObjectAttributes": (
        {"Key": "k", "ObjectAttributes": ["ETag", "ObjectSize", "StorageClass", "Checksum"]},
        {
            "ETag": MD5.strip('"'),
            "ObjectSize": 5,
            "StorageClass": "STANDARD",
            "LastModified": ANY,
            "Checksum": ANY,
        },
    ),
    "GetObjectLockConfiguration": ({}, "ObjectLockConfigurationNotFoundError"),
    "GetObjectTagging": ({"Key": "k"}, {"TagSet": [{"Key": "t", "Value": "1"}]}),
    "GetPublicAccessBlock": ({}, {"PublicAccessBlockConfiguration": ANY}),
    "HeadBucket": ({}, {"BucketRegion": "us-east-1"}),
    "HeadObject": (
        {"Key": "k"},
        {"ETag": MD5, "ContentLength": 5, "ContentType": "text/plain", "LastModified": ANY},
    ),
    "ListBuckets": ({"Bucket": None}, {"Buckets": ANY, "Owner": {"ID": ANY}}),
    "ListMultipartUploads": (
        {},
        {"Uploads": ANY, "MaxUploads": 1000, "IsTruncated": False, "Bucket": "bucket"},
    ),
    "ListObjectVersions": ({}, {"Versions": ANY, "IsTruncated": False, "Name": "bucket", "MaxKeys": 1000}),
    "ListObjects": (
        {},
        {"Contents": ANY, "IsTruncated": False, "Name": "bucket", "Marker": "", "MaxKeys": 1000},
    ),
    "ListObjectsV2": (
        {},
        {"Contents": ANY, "IsTruncated": False, "Name": "bucket", "KeyCount": 1, "Prefix": ""},
    ),
    "ListParts": (
        {"Key": "upload", "UploadId": "UPLOAD"},
        {
            "Parts": ANY,
            "Key": "upload",
            "Initiator": {"ID": ANY},
            "Owner": {"ID": ANY},
            "StorageClass": "STANDARD",
        },
    ),
    "PutBucketTagging": ({"Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]}}, {"STATUS": 204}),
    "PutObject": (
        {"Key": "n", "Body": b"hello"},
        {"ETag": MD5, "ServerSideEncryption": "AES256", "ChecksumCRC32": ANY},
    ),
    "PutObjectTagging": ({"Key": "k", "Tagging": {"TagSet": []}}, {"STATUS": 200}),
    "UploadPart": (
        {"Key": "upload", "UploadId": "UPLOAD", "PartNumber": 2, "Body": b"hello"},
        {"ETag": MD5, "ServerSideEncryption": "AES256"},
    ),
    "UploadPartCopy": (
        {"Key": "upload", "UploadId": "UPLOAD", "PartNumber": 2, "CopySource": "bucket/k"},
        {"CopyPartResult": {"ETag": MD5, "LastModified": ANY}},
    ),
}


def test_the_table_is_complete(service: Service) -> None:
    assert sorted(TABLE) == service.s3.operations


@pytest.mark.parametrize("operation", TABLE)
def test_the_answer_of(s3: Any, operation: str) -> None:
    s3.put_object(
        Bucket="bucket", Key="k", Body=b"hello", ContentType="text/plain", Tagging="t=1", Metadata={"m": "1"}
    )
    upload = s3.create_multipart_upload(Bucket="bucket", Key="upload")["UploadId"]
    s3.upload_part(Bucket="bucket", Key="upload", UploadId=upload, PartNumber=1, Body=b"hello")
    members, expected = TABLE[operation]
    request = {"Bucket": "bucket", **members}
    request = {name: value for name, value in request.items() if value is not None}
    if request.get("UploadId") == "UPLOAD":
        request["UploadId"] = upload
    method = {api: python for python, api in s3.meta.method_to_api_mapping.items()}[operation]
    if isinstance(expected, str):
        with pytest.raises(ClientError) as caught:
            getattr(s3, method)(**request)
        assert caught.value.response["Error"]["Code"] == expected
        return
    answer = getattr(s3, method)(**request)
    answer["STATUS"] = answer["ResponseMetadata"]["HTTPStatusCode"]
    _check(answer, {"STATUS": 200, **expected})


def _check(answer: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        if value is ANY:
            assert answer[name] not in (None, "", [], {}), name
        elif isinstance(value, dict):
            _check(answer[name], value)
        else:
            assert answer.get(name) == value, name
