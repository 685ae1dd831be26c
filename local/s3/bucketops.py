"""The operations on buckets, and on the service as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.s3 import described, names
from local.s3.buckets import Bucket, Buckets
from local.s3.errors import S3Error, not_implemented
from local.s3.listing import Listings, page_size, read_token, write_token
from local.s3.multipart import Uploads
from local.s3.objectops import acl
from local.s3.objects import Objects
from local.s3.requests import Reply, Request

_FIRST_REGION = "us-east-1"  # AWS's exception in many rules
_MOST_BUCKETS = 10_000

# What a bucket on AWS says before anybody has configured it (each operation's page of the API Reference).
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "GetBucketAccelerateConfiguration": {},
    "GetBucketEncryption": {
        "ServerSideEncryptionConfiguration": {
            "Rules": [
                {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}
            ]
        }
    },
    "GetBucketLogging": {},
    "GetBucketNotificationConfiguration": {},
    "GetBucketOwnershipControls": {
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    },
    "GetBucketRequestPayment": {"Payer": "BucketOwner"},
    "GetBucketVersioning": {},
    "GetPublicAccessBlock": {
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        }
    },
}
_NOT_CONFIGURED = {
    "GetBucketCors": ("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
    "GetBucketLifecycleConfiguration": (
        "NoSuchLifecycleConfiguration",
        "The lifecycle configuration does not exist",
    ),
    "GetBucketPolicy": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "GetBucketPolicyStatus": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "GetBucketReplication": (
        "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found",
    ),
    "GetBucketWebsite": (
        "NoSuchWebsiteConfiguration",
        "The specified bucket does not have a website configuration",
    ),
    "GetObjectLockConfiguration": (
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket",
    ),
}


class BucketOperations:
    """One method per operation, with the operation's name in snake case.

    `unconfigured` answers the operations that read a configuration which no bucket has here.
    """

    def __init__(
        self,
        buckets: Buckets,
        objects: Objects,
        uploads: Uploads,
        listings: Listings,
        owner: Mapping[str, str],
        region: str,
    ) -> None:
        self._region = region
        self._buckets = buckets
        self._objects = objects
        self._uploads = uploads
        self._listings = listings
        self._owner = owner

    def ListBuckets(self, request: Request) -> Reply:
        members = request.members
        prefix, most = members.get("Prefix", ""), page_size(members, "MaxBuckets", _MOST_BUCKETS)
        after = read_token(members["ContinuationToken"]) if "ContinuationToken" in members else ""
        wanted = [
            bucket
            for bucket in self._buckets.all()
            if bucket.name.startswith(prefix)
            and bucket.name > after
            and members.get("BucketRegion") in (None, self._region_of(bucket, request))
        ]
        page = wanted[:most]
        return Reply(
            {
                "Buckets": [
                    {
                        "Name": bucket.name,
                        "CreationDate": bucket.created,
                        "BucketRegion": self._region_of(bucket, request),
                    }
                    for bucket in page
                ],
                "Owner": self._owner,
                "Prefix": prefix or None,
                "ContinuationToken": write_token(page[-1].name) if page and len(wanted) > len(page) else None,
            }
        )

    def CreateBucket(self, request: Request) -> Reply:
        names.check_bucket(request.bucket)
        configuration = request.members.get("CreateBucketConfiguration") or {}
        if "Bucket" in configuration or "Location" in configuration:
            raise not_implemented("directory buckets")
        tags = described.tags_of(configuration.get("Tags", []), "bucket")
        wanted = configuration.get("LocationConstraint", "")
        wanted = {"EU": "eu-west-1"}.get(wanted, wanted)
        if wanted == _FIRST_REGION:
            raise S3Error(
                400, "InvalidLocationConstraint", "The specified location-constraint is not valid",
                LocationConstraint=wanted,
            )  # fmt: skip
        if request.region not in ("", _FIRST_REGION, wanted):
            raise S3Error(
                400,
                "IllegalLocationConstraintException",
                f"The {wanted or 'unspecified'} location constraint is incompatible for the region specific "
                f"endpoint this request was sent to. Give CreateBucketConfiguration the LocationConstraint "
                f"{request.region}.",
            )
        try:
            self._buckets.create(request.bucket, wanted or request.region or self._region)
        except S3Error:
            # In us-east-1, creating one's own bucket again succeeds (API Reference, CreateBucket, Errors).
            if self._region_of(self._buckets.get(request.bucket), request) != _FIRST_REGION:
                raise
        if tags:
            self._buckets.tag(request.bucket, tags)
        return Reply({"Location": f"/{request.bucket}"})

    def HeadBucket(self, request: Request) -> Reply:
        return Reply(
            {
                "BucketRegion": self._region_of(self._buckets.get(request.bucket), request),
                "AccessPointAlias": False,
            }
        )

    def DeleteBucket(self, request: Request) -> Reply:
        self._objects.delete_bucket(request.bucket)
        self._uploads.end_all(request.bucket)
        return Reply()

    def GetBucketLocation(self, request: Request) -> Reply:
        region = self._region_of(self._buckets.get(request.bucket), request)
        return Reply({"LocationConstraint": "" if region == _FIRST_REGION else region})

    def GetBucketAcl(self, request: Request) -> Reply:
        self._buckets.folder(request.bucket)
        return Reply(acl(self._owner))

    def GetBucketTagging(self, request: Request) -> Reply:
        tags = self._buckets.get(request.bucket).tags
        if not tags:
            raise S3Error(404, "NoSuchTagSet", "The TagSet does not exist", BucketName=request.bucket)
        return Reply({"TagSet": described.tag_set(tags)})

    def PutBucketTagging(self, request: Request) -> Reply:
        self._buckets.tag(request.bucket, described.tags_of(request.members["Tagging"]["TagSet"], "bucket"))
        return Reply(status=204)

    def DeleteBucketTagging(self, request: Request) -> Reply:
        self._buckets.tag(request.bucket, {})
        return Reply()

    def ListObjects(self, request: Request) -> Reply:
        return Reply(self._listings.v1(request.members))

    def ListObjectsV2(self, request: Request) -> Reply:
        return Reply(self._listings.v2(request.members))

    def ListObjectVersions(self, request: Request) -> Reply:
        return Reply(self._listings.versions(request.members))

    def unconfigured(self, operation: str, request: Request) -> Reply:
        """The answer about a configuration that no bucket here can have. S3Error where AWS has an error."""
        self._buckets.folder(request.bucket)
        if operation in _NOT_CONFIGURED:
            code, message = _NOT_CONFIGURED[operation]
            raise S3Error(404, code, message, BucketName=request.bucket)
        return Reply(_DEFAULTS[operation])

    def _region_of(self, bucket: Bucket, request: Request) -> str:
        """A bucket that was made as a folder is where whoever asks for it is."""
        return bucket.region or request.region or self._region


UNCONFIGURED = (*_DEFAULTS, *_NOT_CONFIGURED)
