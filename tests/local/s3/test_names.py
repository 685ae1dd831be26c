from __future__ import annotations

import pytest

from local.s3 import names
from local.s3.errors import S3Error


@pytest.mark.parametrize("name", ["abc", "my-bucket.1", "a" * 63, "1.2.3.four"])
def test_names_of_buckets(name: str) -> None:
    names.check_bucket(name)


@pytest.mark.parametrize(
    "name",
    ["", "ab", "a" * 64, "Upper", "under_score", "-a1", "a1-", ".ab", "a..b", "192.168.5.4", "xn--a1",
     "a1-s3alias", "a1--ol-s3", "bücher", "a b", "abc\n"],
)  # fmt: skip
def test_what_no_bucket_may_be_called(name: str) -> None:
    with pytest.raises(S3Error) as caught:
        names.check_bucket(name)
    assert (caught.value.status, caught.value.code) == (400, "InvalidBucketName")


@pytest.mark.parametrize(
    "key", ["a", "a/b/", ".a/..b/c...", "ü/数据/😀", "a" * 255, "/".join(["é" * 127] * 4)]
)
def test_keys_that_are_paths(key: str) -> None:
    names.check_key(key)
    assert names.is_path(key)


@pytest.mark.parametrize(
    ("key", "says"),
    [("a//b", "empty"), ("/a", "empty"), ("a//", "empty"), ("/", "empty"), ("./a", "'.'"), ("a/../b", "'..'"),
     ("a\nb", "control"), ("a\x7f", "control"), ("é" * 128, "255 bytes")],
)  # fmt: skip
def test_keys_that_are_no_paths_are_named(key: str, says: str) -> None:
    assert not names.is_path(key)
    with pytest.raises(S3Error) as caught:
        names.check_key(key)
    assert (caught.value.status, caught.value.code) == (400, "InvalidArgument")
    assert repr(key) in caught.value.message
    assert says in caught.value.message


def test_a_key_of_more_than_1024_bytes() -> None:
    with pytest.raises(S3Error) as caught:
        names.check_key("é/" * 400)
    assert caught.value.code == "KeyTooLongError"
