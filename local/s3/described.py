"""What clients say of an object when they write it, held to what S3 allows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from local.s3.errors import S3Error, invalid_argument, invalid_request, not_implemented

# Members of GetObject's answer that a writer gives.
KEPT = (
    "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires",
    "Metadata", "WebsiteRedirectLocation", "StorageClass", "ServerSideEncryption", "SSEKMSKeyId",
    "BucketKeyEnabled",
)  # fmt: skip
# What a copy has from its source unless it replaces them.
_OF_THE_SOURCE = (*KEPT[:7],)
_LARGEST_METADATA = 2048  # bytes
_READ_AT_ONCE = (
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "REDUCED_REDUNDANCY",
    "GLACIER_IR",
)
_OWNERS_ONLY = ("private", "bucket-owner-full-control", "bucket-owner-read")
_REFUSED = {
    "SSECustomerAlgorithm": "encryption with keys of the client (SSE-C)",
    "SSECustomerKey": "encryption with keys of the client (SSE-C)",
    "CopySourceSSECustomerAlgorithm": "encryption with keys of the client (SSE-C)",
    "CopySourceSSECustomerKey": "encryption with keys of the client (SSE-C)",
    "ObjectLockMode": "Object Lock",
    "ObjectLockRetainUntilDate": "Object Lock",
    "ObjectLockLegalHoldStatus": "Object Lock",
    "ObjectLockEventHold": "Object Lock",
    "WriteOffsetBytes": "appending to an object (x-amz-write-offset-bytes)",
    "IfMatchLastModifiedTime": "x-amz-if-match-last-modified-time",
    "IfMatchSize": "x-amz-if-match-size",
}
# "Field names" and "Field values" of RFC 9110.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_MOST_TAGS = {"object": 10, "bucket": 50}


def check(members: Mapping[str, Any]) -> None:
    """S3Error for what the local S3 does not do, and for what AWS itself refuses."""
    for name, what in _REFUSED.items():
        if name in members:
            raise not_implemented(what)
    if members.get("ObjectLockEnabledForBucket"):
        raise not_implemented("Object Lock")
    if members.get("ACL", "private") not in _OWNERS_ONLY or any(name.startswith("Grant") for name in members):
        raise S3Error(400, "AccessControlListNotSupported", "The bucket does not allow ACLs")
    if members.get("StorageClass", "STANDARD") not in _READ_AT_ONCE:
        raise S3Error(
            400,
            "InvalidStorageClass",
            f"The storage class {members['StorageClass']} is not available in the local S3. Use one whose "
            f"objects need no restore: {', '.join(_READ_AT_ONCE)}.",
        )
    if members.get("VersionId", "null") != "null":
        raise S3Error(
            404, "NoSuchVersion", "The specified version does not exist.", VersionId=members["VersionId"]
        )
    metadata = members.get("Metadata", {})
    size = sum(len(name) + len(value) for name, value in metadata.items())
    if size > _LARGEST_METADATA:
        raise S3Error(
            400,
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            Size=size,
            MaxSizeAllowed=_LARGEST_METADATA,
        )


def check_header(name: str, value: str) -> None:
    """S3Error for a name or a value that no HTTP header can have."""
    if not _HEADER_NAME.fullmatch(name):
        raise invalid_argument(
            f"The header name {name[:100]!r} has a character that no header name can have.",
            ArgumentName=name[:100],
        )
    if has_control_characters(value):
        raise invalid_argument(
            f"The value of {name} has control characters, which no header can hold.",
            ArgumentName=name,
            ArgumentValue=repr(value[:100]),
        )


def has_control_characters(value: str) -> bool:
    """Whether no header can hold the value."""
    return _CONTROL.search(value) is not None


def kept(members: Mapping[str, Any]) -> dict[str, Any]:
    """What of a request goes into the object's note."""
    said = {name: members[name] for name in KEPT if name in members}
    encodings = [each.strip() for each in said.pop("ContentEncoding", "").split(",")]
    # This one is of the request, not of the object.
    encoding = ", ".join(each for each in encodings if each not in ("", "aws-chunked"))
    if encoding:
        said["ContentEncoding"] = encoding
    if said.get("StorageClass") == "STANDARD":
        del said["StorageClass"]
    return said


def kept_of_copy(members: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a copy of an object of which `source` was said."""
    said = kept(members)
    if members.get("MetadataDirective", "COPY") == "REPLACE":
        return said
    return {
        **{name: value for name, value in source.items() if name in _OF_THE_SOURCE},
        **{name: value for name, value in said.items() if name not in _OF_THE_SOURCE},
    }


def tags_of_header(text: str) -> dict[str, str]:
    """S3Error for what is not `key=value&…`, as x-amz-tagging has it."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded"
        ) from None
    return tags_of([{"Key": key, "Value": value} for key, value in pairs], "object")


def tags_of(tags: Sequence[Mapping[str, str]], kind: str) -> dict[str, str]:
    """The TagSet of an `object` or a `bucket`. S3Error for one that S3 does not take."""
    by_key = {tag["Key"]: tag["Value"] for tag in tags}
    if len(tags) > _MOST_TAGS[kind]:
        raise S3Error(
            400, "BadRequest", f"{kind.capitalize()} tags cannot be greater than {_MOST_TAGS[kind]}"
        )
    if len(by_key) != len(tags):
        raise S3Error(400, "InvalidTag", "Cannot provide multiple Tags with the same key")
    for key, value in by_key.items():
        if not 1 <= len(key) <= 128:
            raise S3Error(400, "InvalidTag", "The TagKey you have provided is invalid", TagKey=key)
        if len(value) > 256:
            raise S3Error(400, "InvalidTag", "The TagValue you have provided is invalid", TagValue=value)
        if key.lower().startswith("aws:"):
            raise S3Error(400, "InvalidTag", "System tags cannot be added/updated by requester", TagKey=key)
    return by_key


def tag_set(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as answers have them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def check_directive(members: Mapping[str, Any], *, onto_itself: bool) -> None:
    """S3Error for a copy of an object onto itself that changes nothing."""
    changes = ("StorageClass", "WebsiteRedirectLocation", "ServerSideEncryption", "SSEKMSKeyId")
    if (
        onto_itself
        and members.get("MetadataDirective", "COPY") == "COPY"
        and not any(name in members for name in changes)
    ):
        raise invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing "
            "the object's metadata, storage class, website redirect location or encryption attributes."
        )
