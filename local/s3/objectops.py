"""The operations on one object."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from local.s3 import conditions, described, names
from local.s3.buckets import Buckets
from local.s3.copying import Closing, check_size, copy, open_source, source_of
from local.s3.errors import S3Error, invalid_argument, invalid_request
from local.s3.files import Incoming, Outgoing, Space
from local.s3.incoming import Received, payload_length
from local.s3.listing import not_negative, page_size
from local.s3.notes import Found, Note
from local.s3.objects import Objects
from local.s3.requests import Receiving, Reply, Request

_MOST_DELETED = 1000
_OVERRIDES = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}


class ObjectOperations:
    """Each method is the operation whose name it has."""

    def __init__(self, buckets: Buckets, objects: Objects, space: Space, owner: Mapping[str, str]) -> None:
        self._buckets = buckets
        self._objects = objects
        self._space = space
        self._owner = owner

    # --- writing -------------------------------------------------------------------------------------

    def PutObject(self, request: Request) -> Receiving:
        members, key = request.members, request.key
        tags = described.tags_of_header(members.get("Tagging", ""))
        condition = partial(conditions.check_write, members, key)
        self._objects.check(request.bucket, key, condition)
        check_size(request.headers)
        names.check_holds(key, payload_length(request.headers) or 0)
        incoming = Incoming(self._space, request.headers, members.get("ChecksumAlgorithm", ""))

        def done(received: Received) -> Reply:
            note = Note(received.md5, described.kept(members), tags, received.checksums)
            stored = self._objects.put(request.bucket, key, incoming, note, condition)
            return Reply({"ETag": stored.etag, **checksums_of(note), **encryption(note)})

        return Receiving(incoming, done)

    def CopyObject(self, request: Request) -> Reply:
        members, key = request.members, request.key
        bucket, source_key = source_of(members)
        described.check_directive(members, onto_itself=(bucket, source_key) == (request.bucket, key))
        condition = partial(conditions.check_write, members, key)
        self._objects.check(request.bucket, key, condition)
        source, fd = open_source(self._objects, members)
        with Closing(fd):
            if members.get("TaggingDirective", "COPY") == "REPLACE":
                tags = described.tags_of_header(members.get("Tagging", ""))
            else:
                tags = dict(source.note.tags)
            algorithm = members.get("ChecksumAlgorithm") or next(iter(source.note.checksums), "")
            said = described.kept_of_copy(members, source.note.members)
            incoming = Incoming(self._space, {"content-length": str(source.size)}, algorithm)
            try:
                received = copy(incoming, fd, 0, source.size)
                note = Note(received.md5, said, tags, received.checksums)
                stored = self._objects.put(request.bucket, key, incoming, note, condition)
            finally:
                incoming.discard()
        result = {"ETag": stored.etag, "LastModified": stored.modified, **checksums_of(note)}
        return Reply({"CopyObjectResult": result, **encryption(note)})

    def DeleteObject(self, request: Request) -> Reply:
        condition = None
        if "IfMatch" in request.members:
            condition = partial(conditions.check_write, request.members, request.key)
        self._objects.delete(request.bucket, request.key, condition)
        return Reply()

    def DeleteObjects(self, request: Request) -> Reply:
        wanted = request.members["Delete"]
        if not 1 <= len(wanted["Objects"]) <= _MOST_DELETED:
            raise S3Error(
                400,
                "MalformedXML",
                f"DeleteObjects takes 1 to {_MOST_DELETED} keys, and not {len(wanted['Objects'])}.",
            )
        self._buckets.folder(request.bucket)
        deleted, errors = [], []
        for each in wanted["Objects"]:
            key = each["Key"]
            condition = None
            if "ETag" in each:
                condition = partial(conditions.check_write, {"IfMatch": each["ETag"]}, key)
            try:
                described.check(each)
                self._objects.delete(request.bucket, key, condition)
            except S3Error as error:
                errors.append({"Key": key, "Code": error.code, "Message": error.message})
            else:
                deleted.append({"Key": key})
        return Reply({"Deleted": [] if wanted.get("Quiet") else deleted, "Errors": errors})

    # --- reading -------------------------------------------------------------------------------------

    def GetObject(self, request: Request) -> Reply:
        found, fd = self._objects.open(request.bucket, request.key)
        try:
            members, status, begin, end = self._described(request, found)
            if fd < 0:
                return Reply(members, status)
            return Reply(members, status, Outgoing(fd, begin, end))
        except BaseException:
            if fd >= 0:
                os.close(fd)
            raise

    def HeadObject(self, request: Request) -> Reply:
        members, status, _, _ = self._described(request, self._objects.find(request.bucket, request.key))
        return Reply(members, status)

    def _described(self, request: Request, found: Found) -> tuple[dict[str, Any], int, int, int]:
        """Members and status of the answer, and which bytes it is about."""
        members, note = request.members, found.note
        conditions.check_read(members, found, {})
        answer: dict[str, Any] = {
            "AcceptRanges": "bytes",
            "LastModified": found.modified,
            "ETag": found.etag,
            "ContentType": "binary/octet-stream",
            **note.members,
            **encryption(note),
            "TagCount": len(note.tags) or None,
            **_overrides(members),
        }
        bounds = None
        if "PartNumber" in members:
            if "Range" in members:
                raise invalid_request("Cannot specify both Range header and partNumber query parameter")
            bounds = _part(found, members["PartNumber"])
            answer["PartsCount"] = len(note.parts) or None
        elif "Range" in members and conditions.range_holds(request.headers.get("if-range"), found):
            bounds = conditions.byte_range(members["Range"], found.size)
        begin, end = bounds or (0, found.size)
        if members.get("ChecksumMode") and (begin, end) == (0, found.size):
            answer.update(checksums_of(note))
        answer["ContentLength"] = end - begin
        if bounds is None:
            return answer, 200, begin, end
        if begin < end:
            answer["ContentRange"] = f"bytes {begin}-{end - 1}/{found.size}"
        return answer, 206, begin, end

    def GetObjectAttributes(self, request: Request) -> Reply:
        wanted = request.members.get("ObjectAttributes", [])
        if not wanted:
            raise invalid_argument("At least one attribute must be named in x-amz-object-attributes.")
        stored = self._objects.find(request.bucket, request.key)
        note = stored.note
        answer: dict[str, Any] = {"LastModified": stored.modified}
        if "ETag" in wanted:
            answer["ETag"] = stored.etag.strip('"')
        if "Checksum" in wanted and note.checksums:
            answer["Checksum"] = checksums_of(note)
        if "ObjectParts" in wanted and note.parts:
            answer["ObjectParts"] = _parts(note, request.members)
        if "StorageClass" in wanted:
            answer["StorageClass"] = note.members.get("StorageClass", "STANDARD")
        if "ObjectSize" in wanted:
            answer["ObjectSize"] = stored.size
        return Reply(answer)

    def GetObjectAcl(self, request: Request) -> Reply:
        self._objects.find(request.bucket, request.key)
        return Reply(acl(self._owner))

    # --- tags ----------------------------------------------------------------------------------------

    def GetObjectTagging(self, request: Request) -> Reply:
        stored = self._objects.find(request.bucket, request.key)
        return Reply({"TagSet": described.tag_set(stored.note.tags)})

    def PutObjectTagging(self, request: Request) -> Reply:
        return self._tag(request, described.tags_of(request.members["Tagging"]["TagSet"], "object"))

    def DeleteObjectTagging(self, request: Request) -> Reply:
        return self._tag(request, {})

    def _tag(self, request: Request, tags: Mapping[str, str]) -> Reply:
        self._objects.annotate(request.bucket, request.key, lambda note: dataclasses.replace(note, tags=tags))
        return Reply()


def acl(owner: Mapping[str, str]) -> dict[str, Any]:
    """All that there is: everything is the owner's."""
    grant = {"Grantee": {"Type": "CanonicalUser", **owner}, "Permission": "FULL_CONTROL"}
    return {"Owner": owner, "Grants": [grant]}


def checksums_of(note: Note) -> dict[str, Any]:
    """Members of an answer."""
    if not note.checksums:
        return {}
    values: dict[str, Any] = {f"Checksum{name}": value for name, value in note.checksums.items()}
    return {**values, "ChecksumType": note.checksum_type}


def encryption(note: Note) -> dict[str, Any]:
    """What AWS says of every object; the local S3 encrypts nothing."""
    names = ("SSEKMSKeyId", "BucketKeyEnabled")
    said = {name: note.members[name] for name in names if name in note.members}
    return {"ServerSideEncryption": note.members.get("ServerSideEncryption", "AES256"), **said}


def _overrides(members: Mapping[str, Any]) -> dict[str, str]:
    """Headers that a request sets for its own answer."""
    overrides = {name: members[member] for member, name in _OVERRIDES.items() if member in members}
    for name, text in overrides.items():
        described.check_header(name, text)
    return overrides


def _part(found: Found, number: int) -> tuple[int, int]:
    """The bytes of a part. S3Error 416 if there is no such part."""
    sizes = [part["Size"] for part in found.note.parts] or [found.size]
    if not 1 <= number <= len(sizes):
        raise S3Error(
            416,
            "InvalidPartNumber",
            "The requested partnumber is not satisfiable",
            PartNumberRequested=number,
            ActualPartCount=len(sizes),
        )
    begin = sum(sizes[: number - 1])
    return begin, begin + sizes[number - 1]


def _parts(note: Note, members: Mapping[str, Any]) -> dict[str, Any]:
    most, marker = page_size(members, "MaxParts"), not_negative(members, "PartNumberMarker", 0)
    page = list(enumerate(note.parts, 1))[marker : marker + most]
    last = page[-1][0] if page else marker
    return {
        "TotalPartsCount": len(note.parts),
        "PartNumberMarker": marker,
        "NextPartNumberMarker": last,
        "MaxParts": most,
        "IsTruncated": bool(page) and last < len(note.parts),
        "Parts": [
            {
                "PartNumber": number,
                "Size": part["Size"],
                **{f"Checksum{name}": value for name, value in part.items() if name != "Size"},
            }
            for number, part in page
        ],
    }
