"""Conditional requests and ranges: RFC 9110, sections 13 and 14, as S3 has them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from local.s3.errors import S3Error, no_such_key, not_implemented, precondition_failed
from local.s3.notes import Found


class NotModified(S3Error):
    """304: not an error for HTTP, but an end of the request like one."""

    def __init__(self, found: Found, headers: Mapping[str, str]) -> None:
        super().__init__(304, "NotModified", "Not Modified", {"ETag": found.etag, **headers})


def check_read(members: Mapping[str, Any], found: Found, headers: Mapping[str, str]) -> None:
    """S3Error 412, or NotModified with `headers`, if an object is not to be sent."""
    match, none_match = members.get("IfMatch"), members.get("IfNoneMatch")
    since, unmodified = _time(members.get("IfModifiedSince")), _time(members.get("IfUnmodifiedSince"))
    if match is not None:
        if not _matches(match, found):
            raise precondition_failed("If-Match")
    elif unmodified is not None and found.modified > unmodified:
        raise precondition_failed("If-Unmodified-Since")
    if none_match is not None:
        if _matches(none_match, found):
            raise NotModified(found, headers)
    elif since is not None and found.modified <= since:
        raise NotModified(found, headers)


def check_source(members: Mapping[str, Any], found: Found) -> None:
    """S3Error 412 if an object is not to be copied ("CopyObject" of the API Reference, conditions)."""
    conditions = {
        name: members.get(f"CopySource{name}")
        for name in ("IfMatch", "IfNoneMatch", "IfModifiedSince", "IfUnmodifiedSince")
    }
    try:
        check_read(conditions, found, {})
    except NotModified:
        raise precondition_failed("x-amz-copy-source-If-None-Match or -If-Modified-Since") from None


def check_write(members: Mapping[str, Any], key: str, found: Found | None) -> None:
    """S3Error if a key is not to be written, given the object that is there now ("Conditional writes")."""
    match, none_match = members.get("IfMatch"), members.get("IfNoneMatch")
    if none_match is not None:
        if none_match.strip() != "*":
            raise not_implemented("If-None-Match with anything but * for a write")
        if found is not None:
            raise precondition_failed("If-None-Match")
    if match is not None:
        if found is None:
            raise no_such_key(key)
        if not _matches(match, found):
            raise precondition_failed("If-Match")


def range_holds(condition: str | None, found: Found) -> bool:
    """Whether If-Range lets a range be sent; otherwise all of the object is."""
    if condition is None:
        return True
    if '"' in condition:
        return condition.strip() == found.etag
    return _time(condition) == found.modified


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None for a range that HTTP ignores. S3Error 416."""
    match = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", text, re.ASCII)
    if match is None or match[1] == match[2] == "":
        return None  # several ranges, too: S3 sends all of the object then
    if match[1]:
        begin = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < begin:
            return None
    else:
        begin, end = max(0, size - int(match[2])), size
    if begin >= end:
        raise S3Error(
            416,
            "InvalidRange",
            "The requested range is not satisfiable",
            {"Content-Range": f"bytes */{size}"},
            RangeRequested=text,
            ActualObjectSize=size,
        )
    return begin, end


def _matches(condition: str, found: Found) -> bool:
    etags = [etag.strip().removeprefix("W/").strip('"') for etag in condition.split(",")]
    return "*" in etags or found.etag.strip('"') in etags


def _time(text: str | None) -> int | None:
    """Epoch seconds; None for no date, which HTTP ignores."""
    if text is not None:
        with contextlib.suppress(ValueError, OverflowError):
            return int(parsedate_to_datetime(text).timestamp())
    return None
