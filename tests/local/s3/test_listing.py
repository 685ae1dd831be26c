from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

Service = Any  # conftest.Service
Refused = Callable[..., str]
Keys = Callable[..., list[str]]

TREE = ["a/1", "a/2", "a/b/3", "a-b", "c/4", "top", "ü"]


@pytest.fixture
def tree(service: Service, s3: Any) -> list[str]:
    for key in TREE:
        service.put(f"s3://bucket/{key}", b"x")
    (service.config.bucket_path("s3://bucket/") / "empty/deep").mkdir(parents=True)
    return sorted(TREE, key=str.encode)


def names(page: Any) -> tuple[list[str], list[str]]:
    """Keys and common prefixes."""
    return (
        [each["Key"] for each in page.get("Contents", [])],
        [each["Prefix"] for each in page.get("CommonPrefixes", [])],
    )


def test_all_keys_in_order(tree: list[str], keys: Keys, s3: Any) -> None:
    assert keys() == tree
    assert keys(Prefix="a/") == ["a/1", "a/2", "a/b/3"]
    assert keys(Prefix="a") == ["a-b", "a/1", "a/2", "a/b/3"]
    assert [each["Key"] for each in s3.list_objects(Bucket="bucket")["Contents"]] == tree


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2", "list_object_versions"])
@pytest.mark.parametrize("delimiter", ["", "/", "b"])
def test_pages_together_are_the_whole(
    tree: list[str], s3: Any, operation: str, size: int, delimiter: str
) -> None:
    expected_keys: list[str] = []
    expected_prefixes: list[str] = []
    for key in tree:
        head, found, _ = key.partition(delimiter) if delimiter else (key, "", "")
        if not found:
            expected_keys.append(key)
        elif head + found not in expected_prefixes:
            expected_prefixes.append(head + found)
    pages = s3.get_paginator(operation).paginate(
        Bucket="bucket", Delimiter=delimiter, PaginationConfig={"PageSize": size}
    )
    found_keys: list[str] = []
    found_prefixes: list[str] = []
    for page in pages:
        assert (
            len(page.get("Contents", page.get("Versions", []))) + len(page.get("CommonPrefixes", [])) <= size
        )
        found_keys += [each["Key"] for each in page.get("Contents", page.get("Versions", []))]
        found_prefixes += [each["Prefix"] for each in page.get("CommonPrefixes", [])]
    assert (found_keys, found_prefixes) == (expected_keys, expected_prefixes)


def test_prefix_and_delimiter(tree: list[str], s3: Any) -> None:
    page = s3.list_objects_v2(Bucket="bucket", Delimiter="/")
    assert names(page) == (["a-b", "top", "ü"], ["a/", "c/"])
    assert (page["KeyCount"], page["IsTruncated"], page["MaxKeys"], page["Name"]) == (
        5,
        False,
        1000,
        "bucket",
    )
    assert names(s3.list_objects_v2(Bucket="bucket", Delimiter="/", Prefix="a/")) == (
        ["a/1", "a/2"],
        ["a/b/"],
    )
    assert names(s3.list_objects_v2(Bucket="bucket", Delimiter="/", Prefix="a")) == (["a-b"], ["a/"])
    assert names(s3.list_objects_v2(Bucket="bucket", Delimiter="-", Prefix="a")) == (
        ["a/1", "a/2", "a/b/3"],
        ["a-"],
    )
    assert s3.list_objects_v2(Bucket="bucket", Prefix="none/")["KeyCount"] == 0


def test_where_a_listing_begins(tree: list[str], s3: Any) -> None:
    assert names(s3.list_objects_v2(Bucket="bucket", StartAfter="a/2"))[0] == ["a/b/3", "c/4", "top", "ü"]
    assert names(s3.list_objects(Bucket="bucket", Marker="c/4"))[0] == ["top", "ü"]
    assert names(s3.list_objects_v2(Bucket="bucket", StartAfter="a/", Delimiter="/")) == (
        ["top", "ü"],
        ["c/"],
    )
    page = s3.list_objects_v2(Bucket="bucket", MaxKeys=2, StartAfter="a-b")
    assert (page["StartAfter"], page["KeyCount"], page["IsTruncated"]) == ("a-b", 2, True)
    following = s3.list_objects_v2(Bucket="bucket", ContinuationToken=page["NextContinuationToken"])
    assert names(following)[0] == ["a/b/3", "c/4", "top", "ü"]
    assert following["ContinuationToken"] == page["NextContinuationToken"]


def test_how_many_are_wanted(tree: list[str], s3: Any, send: Any, refused: Refused) -> None:
    none = s3.list_objects_v2(Bucket="bucket", MaxKeys=0)
    assert (none["KeyCount"], none["IsTruncated"]) == (0, False)
    assert s3.list_objects_v2(Bucket="bucket", MaxKeys=5000)["MaxKeys"] == 1000
    refused(s3.list_objects_v2, "InvalidArgument", Bucket="bucket", MaxKeys=-1)
    for query in ("max-keys=many", "encoding-type=rot13", "list-type=2&continuation-token=%25"):
        answer = send("GET", f"/bucket?{query}")
        assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_etags_times_and_owners(tree: list[str], s3: Any, send: Any) -> None:
    etag = s3.put_object(Bucket="bucket", Key="a/1", Body=b"y")["ETag"]
    [item] = s3.list_objects_v2(Bucket="bucket", Prefix="a/1")["Contents"]
    assert (item["ETag"], item["Size"], item["StorageClass"]) == (etag, 1, "STANDARD")
    assert "Owner" not in item
    assert s3.list_objects_v2(Bucket="bucket", FetchOwner=True)["Contents"][0]["Owner"]["ID"]
    assert s3.list_objects(Bucket="bucket")["Contents"][0]["Owner"]["ID"]
    body = send("GET", "/bucket?prefix=a/1").body.decode()
    assert f"<ETag>{etag}</ETag>" in body.replace("&quot;", '"')
    assert ".000Z</LastModified>" in body


def test_names_that_xml_cannot_hold_are_encoded(service: Service, s3: Any, send: Any) -> None:
    service.put("s3://bucket/line\nfeed+plus &.txt", b"x")
    assert names(s3.list_objects_v2(Bucket="bucket"))[0] == ["line\nfeed+plus &.txt"]
    raw = send("GET", "/bucket?encoding-type=url").body
    assert b"<Key>line%0Afeed%2Bplus%20%26.txt</Key>" in raw
    assert b"<EncodingType>url</EncodingType>" in raw


def test_versions_of_a_bucket_that_has_none(tree: list[str], s3: Any) -> None:
    page = s3.list_object_versions(Bucket="bucket", MaxKeys=1)
    [version] = page["Versions"]
    assert (version["Key"], version["VersionId"], version["IsLatest"]) == ("a-b", "null", True)
    assert (page["NextKeyMarker"], page["NextVersionIdMarker"]) == ("a-b", "null")
    s3.delete_object(Bucket="bucket", Key="a-b", VersionId="null")
    assert names(s3.list_objects_v2(Bucket="bucket", Prefix="a-"))[0] == []


def test_thousands_of_objects(service: Service, s3: Any, keys: Keys) -> None:
    folder = service.put("s3://bucket/many/0", b"").parent
    for number in range(1, 2500):
        (folder / str(number)).touch()
    assert keys() == sorted(f"many/{number}" for number in range(2500))


def test_a_bucket_that_is_not_there(s3: Any, refused: Refused) -> None:
    refused(s3.list_objects_v2, "NoSuchBucket", Bucket="none")
    refused(s3.list_objects, "NoSuchBucket", Bucket="none")
    for bucket in ("..", "."):
        refused(s3.list_objects_v2, "NoSuchBucket", Bucket=bucket)


def test_files_that_vanish_while_they_are_listed(
    service: Service, s3: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = service.put("s3://bucket/gone", b"x")
    service.put("s3://bucket/kept", b"x")
    scandir = os.scandir

    def vanish(path: str) -> Any:
        entries = scandir(path)
        if str(path).endswith("bucket"):
            gone.unlink(missing_ok=True)
        return entries

    listed = os.scandir(gone.parent)
    [entry] = [each for each in listed if each.name == "gone"]
    entry.is_dir(follow_symlinks=False)
    monkeypatch.setattr(os, "scandir", vanish)
    assert keys() == ["kept"]
