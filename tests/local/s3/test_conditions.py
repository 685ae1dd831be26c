from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate

import pytest

from local.s3 import conditions
from local.s3.conditions import NotModified
from local.s3.errors import S3Error
from local.s3.notes import Found, Note, Stamp

FOUND = Found("key", Stamp(7, 10, 1_700_000_000_500_000_000), Note("abc"))
BEFORE, SAME, AFTER = (formatdate(1_700_000_000 + delta, usegmt=True) for delta in (-1, 0, 1))


def outcome(**members: str) -> int:
    try:
        conditions.check_read(members, FOUND, {})
    except S3Error as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"IfMatch": '"abc"'}, 200),
        ({"IfMatch": "abc"}, 200),
        ({"IfMatch": "*"}, 200),
        ({"IfMatch": '"x", "abc"'}, 200),
        ({"IfMatch": '"x"'}, 412),
        ({"IfNoneMatch": '"abc"'}, 304),
        ({"IfNoneMatch": "*"}, 304),
        ({"IfNoneMatch": '"x"'}, 200),
        ({"IfModifiedSince": BEFORE}, 200),
        ({"IfModifiedSince": SAME}, 304),
        ({"IfUnmodifiedSince": SAME}, 200),
        ({"IfUnmodifiedSince": BEFORE}, 412),
        ({"IfModifiedSince": "yesterday"}, 200),
        # "GetObject" of the API Reference: these two pairs.
        ({"IfMatch": '"abc"', "IfUnmodifiedSince": BEFORE}, 200),
        ({"IfNoneMatch": '"abc"', "IfModifiedSince": BEFORE}, 304),
    ],
)
def test_conditional_reads(members: Mapping[str, str], status: int) -> None:
    assert outcome(**members) == status


def test_a_copy_is_never_not_modified() -> None:
    with pytest.raises(S3Error) as caught:
        conditions.check_source({"CopySourceIfNoneMatch": "abc"}, FOUND)
    assert caught.value.status == 412
    assert not isinstance(caught.value, NotModified)


@pytest.mark.parametrize(
    ("members", "there", "code"),
    [
        ({"IfNoneMatch": "*"}, True, "PreconditionFailed"),
        ({"IfNoneMatch": '"abc"'}, False, "NotImplemented"),
        ({"IfMatch": '"x"'}, True, "PreconditionFailed"),
        ({"IfMatch": '"x"'}, False, "NoSuchKey"),
    ],
)
def test_conditional_writes_that_are_refused(members: Mapping[str, str], there: bool, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        conditions.check_write(members, "key", FOUND if there else None)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("members", "there"),
    [({"IfNoneMatch": "*"}, False), ({"IfMatch": '"abc"'}, True), ({}, True), ({}, False)],
)
def test_conditional_writes(members: Mapping[str, str], there: bool) -> None:
    conditions.check_write(members, "key", FOUND if there else None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-0", (0, 1)), ("bytes=2-5", (2, 6)), ("bytes=2-", (2, 10)), ("bytes=-3", (7, 10)),
        ("bytes=-100", (0, 10)), ("bytes=5-100", (5, 10)), ("bytes=0-1,3-4", None), ("bytes=5-2", None),
        ("items=0-1", None), ("bytes=-", None), ("bytes=a-b", None),
    ],
)  # fmt: skip
def test_ranges(text: str, expected: tuple[int, int] | None) -> None:
    assert conditions.byte_range(text, 10) == expected


@pytest.mark.parametrize(
    ("text", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)]
)
def test_ranges_that_no_object_has(text: str, size: int) -> None:
    with pytest.raises(S3Error) as caught:
        conditions.byte_range(text, size)
    assert (caught.value.status, caught.value.code) == (416, "InvalidRange")
    assert caught.value.headers["Content-Range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [(None, True), ('"abc"', True), ('"x"', False), (SAME, True), (BEFORE, False), ("?", False)],
)
def test_if_range(condition: str | None, holds: bool) -> None:
    assert conditions.range_holds(condition, FOUND) is holds
