from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from local.s3.buckets import Bucket, Buckets

Service = Any  # conftest.Service
Refused = Callable[..., str]


def test_buckets_are_folders(service: Service, s3: Any, refused: Refused) -> None:
    s3.create_bucket(Bucket="other")
    (service.config.s3_root / "third").mkdir()
    (service.config.s3_root / ".hidden").mkdir()
    (service.config.s3_root / "file").touch()
    (service.config.s3_root / "link").symlink_to(service.config.home)
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["bucket", "other", "third"]
    now = datetime.datetime.now(datetime.UTC)
    assert all(abs(each["CreationDate"] - now).total_seconds() < 60 for each in s3.list_buckets()["Buckets"])
    s3.head_bucket(Bucket="third")
    s3.put_object(Bucket="third", Key="k", Body=b"x")
    s3.delete_bucket(Bucket="other")
    refused(s3.head_bucket, "404", Bucket="other")
    refused(s3.delete_bucket, "NoSuchBucket", Bucket="other")
    refused(s3.head_bucket, "404", Bucket="link")
    assert not (service.config.s3_root / "other").exists()


def test_pages_of_buckets(s3: Any) -> None:
    for name in ("bucket-2", "bucket-3", "other"):
        s3.create_bucket(Bucket=name)
    pages = s3.get_paginator("list_buckets").paginate(Prefix="bucket", PaginationConfig={"PageSize": 2})
    assert [[each["Name"] for each in page["Buckets"]] for page in pages] == [
        ["bucket", "bucket-2"],
        ["bucket-3"],
    ]
    assert len(s3.list_buckets(BucketRegion="us-east-1")["Buckets"]) == 4
    assert s3.list_buckets(BucketRegion="eu-west-1")["Buckets"] == []


def test_a_bucket_that_goes_while_buckets_are_listed_is_left_out(
    service: Service, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.create_bucket(Bucket="gone")
    get = Buckets.get

    def delete_first(buckets: Buckets, name: str) -> Bucket:
        if name == "gone":
            (service.config.s3_root / name).rmdir()
        return get(buckets, name)

    monkeypatch.setattr(Buckets, "get", delete_first)
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["bucket"]


def test_names_that_no_bucket_may_have(service: Service, s3: Any, send: Any) -> None:
    for name in ("Upper", "ab", "a_b"):
        answer = send("PUT", f"/{name}")
        assert (answer.status, answer.code) == (400, "InvalidBucketName")
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["bucket"]


def test_regions(service: Service, s3: Any, refused: Refused) -> None:
    assert s3.head_bucket(Bucket="bucket")["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket="bucket")["LocationConstraint"] is None
    s3.create_bucket(Bucket="bucket")  # in this region, as on AWS, no error
    there = {"Bucket": "elsewhere", "CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}
    s3.create_bucket(**there)
    assert s3.get_bucket_location(Bucket="elsewhere")["LocationConstraint"] == "eu-central-1"
    assert s3.head_bucket(Bucket="elsewhere")["BucketRegion"] == "eu-central-1"
    refused(s3.create_bucket, "BucketAlreadyOwnedByYou", **there)
    (service.config.s3_root / "folder").mkdir()
    abroad = service.session.client("s3", endpoint_url=service.url, region_name="eu-central-1")
    service.clients.append(abroad)
    assert abroad.head_bucket(Bucket="folder")["BucketRegion"] == "eu-central-1"
    assert s3.head_bucket(Bucket="folder")["BucketRegion"] == "us-east-1"
    refused(abroad.create_bucket, "IllegalLocationConstraintException", Bucket="third")
    abroad.create_bucket(**{**there, "Bucket": "fourth"})
    refused(
        s3.create_bucket, "InvalidLocationConstraint", Bucket="third",
        CreateBucketConfiguration={"LocationConstraint": "us-east-1"},
    )  # fmt: skip


def test_a_bucket_that_holds_objects_stays(service: Service, s3: Any, refused: Refused) -> None:
    s3.put_object(Bucket="bucket", Key="a/b", Body=b"x")
    refused(s3.delete_bucket, "BucketNotEmpty", Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="new/")
    s3.delete_object(Bucket="bucket", Key="a/b")
    refused(s3.delete_bucket, "BucketNotEmpty", Bucket="bucket")
    s3.delete_object(Bucket="bucket", Key="new/")
    service.config.bucket_path("s3://bucket/left/by/a/job").mkdir(parents=True)
    s3.delete_bucket(Bucket="bucket")
    refused(s3.list_objects_v2, "NoSuchBucket", Bucket="bucket")


def test_a_bucket_that_is_made_again_knows_nothing_of_the_first(s3: Any, refused: Refused) -> None:
    s3.put_bucket_tagging(Bucket="bucket", Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    s3.delete_bucket(Bucket="bucket")
    s3.create_bucket(Bucket="bucket")
    refused(s3.get_bucket_tagging, "NoSuchTagSet", Bucket="bucket")


def test_tags_of_buckets(service: Service, s3: Any, refused: Refused) -> None:
    tags = [{"Key": "team", "Value": "a & b"}]
    refused(s3.get_bucket_tagging, "NoSuchTagSet", Bucket="bucket")
    answer = s3.put_bucket_tagging(Bucket="bucket", Tagging={"TagSet": tags})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    s3.create_bucket(Bucket="tagged", CreateBucketConfiguration={"Tags": tags})
    assert s3.get_bucket_tagging(Bucket="tagged")["TagSet"] == tags
    service.restart()
    s3 = service.client("s3")
    assert s3.get_bucket_tagging(Bucket="bucket")["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket="bucket")
    refused(s3.get_bucket_tagging, "NoSuchTagSet", Bucket="bucket")
    refused(s3.put_bucket_tagging, "NoSuchBucket", Bucket="none", Tagging={"TagSet": tags})
    many = [{"Key": str(number), "Value": ""} for number in range(51)]
    refused(s3.put_bucket_tagging, "BadRequest", Bucket="bucket", Tagging={"TagSet": many})


@pytest.mark.parametrize(
    ("operation", "member", "value"),
    [
        ("get_bucket_versioning", "Status", None),
        ("get_bucket_encryption", "ServerSideEncryptionConfiguration",
         {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
                     "BucketKeyEnabled": False}]}),
        ("get_public_access_block", "PublicAccessBlockConfiguration",
         dict.fromkeys(
             ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"], True)),
        ("get_bucket_ownership_controls", "OwnershipControls",
         {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}),
        ("get_bucket_request_payment", "Payer", "BucketOwner"),
        ("get_bucket_logging", "LoggingEnabled", None),
        ("get_bucket_notification_configuration", "QueueConfigurations", None),
        ("get_bucket_accelerate_configuration", "Status", None),
    ],
)  # fmt: skip
def test_what_a_bucket_says_that_nobody_configured(
    s3: Any, refused: Refused, operation: str, member: str, value: Any
) -> None:
    assert getattr(s3, operation)(Bucket="bucket").get(member) == value
    refused(getattr(s3, operation), "NoSuchBucket", Bucket="none")


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_policy_status", "NoSuchBucketPolicy"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_cors", "NoSuchCORSConfiguration"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
    ],
)
def test_configurations_that_are_not_there(s3: Any, refused: Refused, operation: str, code: str) -> None:
    refused(getattr(s3, operation), code, Bucket="bucket")
    refused(getattr(s3, operation), "NoSuchBucket", Bucket="none")


def test_access_lists_of_objects_mean_nothing_for_a_bucket(s3: Any, refused: Refused) -> None:
    for name, acl in (("reader", "bucket-owner-read"), ("owner", "bucket-owner-full-control")):
        s3.create_bucket(Bucket=f"bucket-{name}", ACL=acl)
    refused(s3.create_bucket, "AccessControlListNotSupported", Bucket="bucket-public", ACL="public-read")


def test_everything_is_the_owners(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    for answer in (s3.get_bucket_acl(Bucket="bucket"), s3.get_object_acl(Bucket="bucket", Key="k")):
        [grant] = answer["Grants"]
        assert grant["Permission"] == "FULL_CONTROL"
        assert grant["Grantee"] == {"ID": answer["Owner"]["ID"], "Type": "CanonicalUser"}


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "Enabled"}}),
        ("put_bucket_policy", {"Policy": "{}"}),
        ("put_object_lock_configuration", {}),
        ("restore_object", {"Key": "k"}),
        ("get_object_torrent", {"Key": "k"}),
    ],
)
def test_what_is_not_there_says_so(
    s3: Any, refused: Refused, operation: str, members: dict[str, Any]
) -> None:
    message = refused(getattr(s3, operation), "NotImplemented", Bucket="bucket", **members)
    assert message == f"The local S3 does not implement {s3.meta.method_to_api_mapping[operation]}."
