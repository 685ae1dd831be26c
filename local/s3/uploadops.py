"""The operations of multipart uploads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from local.s3 import checksums, conditions, described, multipart
from local.s3.buckets import Buckets
from local.s3.copying import Closing, check_size, copied_range, copy, open_source
from local.s3.errors import S3Error, invalid_request, no_such_upload
from local.s3.files import Draft, Incoming, Space
from local.s3.incoming import Received
from local.s3.listing import not_negative, page_size
from local.s3.multipart import Part, Upload, Uploads
from local.s3.notes import Found, Note
from local.s3.objectops import checksums_of, encryption
from local.s3.objects import Objects
from local.s3.requests import Receiving, Reply, Request


class UploadOperations:
    """Each method is the operation whose name it has."""

    def __init__(
        self, buckets: Buckets, objects: Objects, uploads: Uploads, space: Space, owner: Mapping[str, str]
    ) -> None:
        self._buckets = buckets
        self._objects = objects
        self._uploads = uploads
        self._space = space
        self._owner = owner

    def CreateMultipartUpload(self, request: Request) -> Reply:
        members = request.members
        self._objects.check(request.bucket, request.key, None)
        note = Note("", described.kept(members), described.tags_of_header(members.get("Tagging", "")))
        upload = self._uploads.create(
            request.bucket,
            request.key,
            members.get("ChecksumAlgorithm", ""),
            members.get("ChecksumType", ""),
            note,
        )
        return Reply(
            {
                "Bucket": upload.bucket,
                "Key": upload.key,
                "UploadId": upload.id,
                **_checksum_kind(upload),
                **encryption(note),
            }
        )

    def UploadPart(self, request: Request) -> Receiving:
        upload, number = self._part_of(request)
        for name in (*checksums.of_headers(request.headers), *checksums.announced(request.headers)):
            if upload.algorithm not in ("", name):
                raise invalid_request(
                    f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm.lower()}, "
                    f"actual checksum Type: {name.lower()}"
                )
        check_size(request.headers)
        incoming = Incoming(self._space, request.headers, upload.algorithm)

        def done(received: Received) -> Reply:
            part = self._uploads.put_part(upload, number, incoming, received)
            return Reply({**_part_result(part), **encryption(upload.note)})

        return Receiving(incoming, done)

    def UploadPartCopy(self, request: Request) -> Reply:
        upload, number = self._part_of(request)
        source, fd = open_source(self._objects, request.members)
        with Closing(fd):
            begin, end = 0, source.size
            if "CopySourceRange" in request.members:
                begin, end = copied_range(request.members["CopySourceRange"], source.size)
            incoming = Incoming(self._space, {"content-length": str(end - begin)}, upload.algorithm)
            try:
                received = copy(incoming, fd, begin, end)
                part = self._uploads.put_part(upload, number, incoming, received)
            finally:
                incoming.discard()
        result = {**_part_result(part), "LastModified": part.modified}
        return Reply({"CopyPartResult": result, **encryption(upload.note)})

    def CompleteMultipartUpload(self, request: Request) -> Reply:
        try:
            stored = self._complete(request)
        except S3Error as error:
            completed = self._completed(request) if error.code == "NoSuchUpload" else None
            if completed is None:
                raise
            stored = completed
        note = stored.note
        return Reply(
            {
                "Location": f"http://{request.headers.get('host', '')}/{request.bucket}/{request.key}",
                "Bucket": request.bucket,
                "Key": request.key,
                "ETag": stored.etag,
                **checksums_of(note),
                **encryption(note),
            }
        )

    def _completed(self, request: Request) -> Found | None:
        """The object of an upload that was completed before: the client asks again if its answer was lost."""
        etag = self._uploads.etag_of_completed(request.bucket, request.key, request.members["UploadId"])
        existing = self._objects.look(request.bucket, request.key) if etag is not None else None
        return existing if existing is not None and existing.etag == etag else None

    def _complete(self, request: Request) -> Found:
        members, key = request.members, request.key
        upload = self._upload(request)
        condition = partial(conditions.check_write, members, key)
        self._objects.check(request.bucket, key, condition)
        parts = multipart.chosen(
            self._uploads.parts(upload), members["MultipartUpload"].get("Parts", []), upload
        )
        size = sum(part.size for part in parts)
        if members.get("MpuObjectSize", size) != size:
            raise invalid_request(
                f"The parts have {size} bytes, and not the {members['MpuObjectSize']} that are expected."
            )
        note = multipart.completed(upload, parts, request.headers)
        joined = Draft(self._space, size)
        try:
            for part in parts:
                joined.append(self._uploads.path(part))
            stored = self._objects.put(request.bucket, key, joined, note, condition)
        except FileNotFoundError:
            raise no_such_upload(upload.id) from None  # aborted meanwhile
        finally:
            joined.discard()
        self._uploads.complete(upload, stored.etag)
        return stored

    def AbortMultipartUpload(self, request: Request) -> Reply:
        self._uploads.end(self._upload(request))
        return Reply()

    def ListParts(self, request: Request) -> Reply:
        upload = self._upload(request)
        marker = not_negative(request.members, "PartNumberMarker", 0)
        most = page_size(request.members, "MaxParts")
        parts = [part for part in self._uploads.parts(upload) if part.number > marker]
        page = parts[:most]
        return Reply(
            {
                "Bucket": upload.bucket,
                "Key": upload.key,
                "UploadId": upload.id,
                "PartNumberMarker": marker,
                "NextPartNumberMarker": page[-1].number if page else 0,
                "MaxParts": most,
                "IsTruncated": 0 < len(page) < len(parts),
                "Parts": [
                    {
                        **_part_result(part),
                        "PartNumber": part.number,
                        "LastModified": part.modified,
                        "Size": part.size,
                    }
                    for part in page
                ],
                "Initiator": self._owner,
                "Owner": self._owner,
                "StorageClass": upload.note.members.get("StorageClass", "STANDARD"),
                **_checksum_kind(upload),
            }
        )

    def ListMultipartUploads(self, request: Request) -> Reply:
        members = request.members
        self._buckets.folder(request.bucket)
        if members.get("Delimiter"):
            raise S3Error(501, "NotImplemented", "The local S3 lists multipart uploads without a delimiter.")
        prefix, most = members.get("Prefix", ""), page_size(members, "MaxUploads")
        marker = (members.get("KeyMarker", ""), members.get("UploadIdMarker", ""))
        uploads = [
            upload
            for upload in self._uploads.all(request.bucket)
            if upload.key.startswith(prefix) and _behind(upload, *marker)
        ]
        page = uploads[:most]
        more = 0 < len(page) < len(uploads)
        return Reply(
            {
                "Bucket": request.bucket,
                "KeyMarker": marker[0],
                "UploadIdMarker": marker[1],
                "NextKeyMarker": page[-1].key if more else None,
                "NextUploadIdMarker": page[-1].id if more else None,
                "Prefix": prefix,
                "MaxUploads": most,
                "IsTruncated": more,
                "Uploads": [
                    {
                        "Key": upload.key,
                        "UploadId": upload.id,
                        "Initiated": upload.initiated,
                        "StorageClass": upload.note.members.get("StorageClass", "STANDARD"),
                        "Owner": self._owner,
                        "Initiator": self._owner,
                        **_checksum_kind(upload),
                    }
                    for upload in page
                ],
            }
        )

    def _upload(self, request: Request) -> Upload:
        self._buckets.folder(request.bucket)
        return self._uploads.get(request.bucket, request.key, request.members["UploadId"])

    def _part_of(self, request: Request) -> tuple[Upload, int]:
        number: int = request.members["PartNumber"]
        multipart.check_number(number)
        return self._upload(request), number


def _behind(upload: Upload, key: str, upload_id: str) -> bool:
    """Whether it comes behind the markers of a page."""
    return upload.key > key or (upload.key == key and upload_id != "" and upload.id > upload_id)


def _part_result(part: Part) -> dict[str, Any]:
    return {
        "ETag": f'"{part.etag}"',
        **{f"Checksum{name}": value for name, value in part.checksums.items()},
    }


def _checksum_kind(upload: Upload) -> dict[str, str]:
    return {"ChecksumAlgorithm": upload.algorithm, "ChecksumType": upload.type} if upload.algorithm else {}
