"""ListObjects, ListObjectsV2 and ListObjectVersions: pages of a bucket's keys."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from local.s3.buckets import Buckets
from local.s3.errors import invalid_argument
from local.s3.notes import Found, Note, Notes, Stamp
from local.s3.walk import Walk

MOST = 1000  # keys and prefixes of a page
_ENCODED = ("Delimiter", "Marker", "NextMarker", "Prefix", "StartAfter", "KeyMarker", "NextKeyMarker")


@dataclass
class Page:
    """`last`: the last key or prefix of a page that is not the end, else empty."""

    objects: list[Found] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: str = ""

    def __len__(self) -> int:
        return len(self.objects) + len(self.prefixes)


class Listings:
    """Lists buckets. `owner`: as answers name it."""

    def __init__(self, buckets: Buckets, notes: Notes, owner: Mapping[str, str]) -> None:
        self._buckets = buckets
        self._notes = notes
        self._owner = owner

    def v1(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """ListObjects."""
        page = self._page(request, request.get("Marker", ""))
        return _encoded(
            {
                **self._common(request, page),
                "Marker": request.get("Marker", ""),
                "NextMarker": (page.last or None) if request.get("Delimiter") else None,
                "Contents": [self._item(each, owner=True) for each in page.objects],
            }
        )

    def v2(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """ListObjectsV2."""
        token = request.get("ContinuationToken")
        page = self._page(request, request.get("StartAfter", "") if token is None else read_token(token))
        owner = bool(request.get("FetchOwner"))
        return _encoded(
            {
                **self._common(request, page),
                "StartAfter": request.get("StartAfter"),
                "ContinuationToken": token,
                "NextContinuationToken": write_token(page.last) if page.last else None,
                "KeyCount": len(page),
                "Contents": [self._item(each, owner=owner) for each in page.objects],
            }
        )

    def versions(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """ListObjectVersions of buckets that have no versions: each object is its own only one, `null`."""
        page = self._page(request, request.get("KeyMarker", ""))
        return _encoded(
            {
                **self._common(request, page),
                "KeyMarker": request.get("KeyMarker", ""),
                "VersionIdMarker": request.get("VersionIdMarker", ""),
                "NextKeyMarker": page.last or None,
                "NextVersionIdMarker": "null" if page.last else None,
                "Versions": [
                    {**self._item(each, owner=True), "VersionId": "null", "IsLatest": True}
                    for each in page.objects
                ],
            }
        )

    def _common(self, request: Mapping[str, Any], page: Page) -> dict[str, Any]:
        return {
            "Name": request["Bucket"],
            "Prefix": request.get("Prefix", ""),
            "Delimiter": request.get("Delimiter") or None,
            "MaxKeys": page_size(request),
            "EncodingType": request.get("EncodingType"),
            "IsTruncated": bool(page.last),
            "CommonPrefixes": [{"Prefix": prefix} for prefix in page.prefixes],
        }

    def _item(self, found: Found, *, owner: bool) -> dict[str, Any]:
        return {
            "Key": found.key,
            "LastModified": found.modified,
            "ETag": found.etag,
            "ChecksumAlgorithm": list(found.note.checksums),
            "ChecksumType": found.note.checksum_type if found.note.checksums else None,
            "Size": found.size,
            "StorageClass": found.note.members.get("StorageClass", "STANDARD"),
            "Owner": self._owner if owner else None,
        }

    def _page(self, request: Mapping[str, Any], after: str) -> Page:
        bucket = request["Bucket"]
        folder = self._buckets.folder(bucket)
        prefix, delimiter, limit = request.get("Prefix", ""), request.get("Delimiter", ""), page_size(request)
        markers = self._notes.markers(bucket)
        page = Page()
        if not limit:
            return page
        walk = Walk(folder, prefix, after, markers, delimiter)
        stamps: dict[str, Stamp] = {}
        last = ""
        for key, entry in walk:
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            common = key[: cut + len(delimiter)] if cut >= 0 else ""
            if common and common <= after:
                walk.skip = common  # the page before ended with it
                continue
            if len(stamps) + len(page.prefixes) == limit:
                page.last = last
                break
            if common:
                walk.skip = common
                page.prefixes.append(common)
                last = common
                continue
            with contextlib.suppress(FileNotFoundError):  # a job has removed it
                stamps[key] = markers[key] if entry is None else Stamp.of(entry.stat(follow_symlinks=False))
                last = key
        notes = self._notes.of_page(bucket, stamps)
        page.objects = [Found(key, stamp, notes.get(key, _NOTHING)) for key, stamp in stamps.items()]
        return page


_NOTHING = Note()


def page_size(request: Mapping[str, Any], name: str = "MaxKeys", most: int = MOST) -> int:
    """How many items a page may have by the member `name`. S3Error if it is negative."""
    return min(not_negative(request, name, most), most)


def not_negative(request: Mapping[str, Any], name: str, default: int) -> int:
    """The member `name`. S3Error if it is negative."""
    number = int(request.get(name, default))
    if number < 0:
        argument = "-".join(re.findall("[A-Z][a-z]+", name)).lower()
        raise invalid_argument(
            f"Argument {argument} must be an integer between 0 and 2147483647",
            ArgumentName=argument,
            ArgumentValue=number,
        )
    return number


def write_token(key: str) -> str:
    """A token that goes on behind `key`."""
    return base64.urlsafe_b64encode(key.encode()).decode()


def read_token(token: str) -> str:
    """S3Error for a token that nobody here has written."""
    try:
        return base64.b64decode(token.encode("ascii"), b"-_", validate=True).decode()
    except ValueError:
        raise invalid_argument("The continuation token provided is incorrect") from None


def _encoded(answer: dict[str, Any]) -> dict[str, Any]:
    """With `encoding-type=url`, the answer's keys as parts of an address."""
    if answer["EncodingType"] is None:
        return answer
    for name in _ENCODED:
        if answer.get(name):
            answer[name] = quote(answer[name])
    for item in [*answer.get("Contents", ()), *answer.get("Versions", ())]:
        item["Key"] = quote(item["Key"])
    for item in answer["CommonPrefixes"]:
        item["Prefix"] = quote(item["Prefix"])
    return answer
