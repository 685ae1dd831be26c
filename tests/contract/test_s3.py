"""S3 addresses."""

from __future__ import annotations

import pytest

from contract import s3


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://bucket/some/key", ("bucket", "some/key")),
        ("s3://bucket/folder/", ("bucket", "folder/")),
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/a?b#c", ("bucket", "a?b#c")),
    ],
)
def test_an_address_is_a_bucket_and_a_key(uri: str, parts: tuple[str, str]) -> None:
    assert s3.split(uri) == parts


@pytest.mark.parametrize(
    "uri", ["", "bucket/key", "s3://", "s3:///key", "https://bucket/key", "s3:/bucket", "S3://b/k"]
)
def test_other_texts_are_refused(uri: str) -> None:
    with pytest.raises(s3.AddressError, match=r"is not an S3 address\. It begins with s3://"):
        s3.split(uri)


def test_parts_are_joined_by_one_slash() -> None:
    assert s3.join("s3://bucket/results/", "job", "output", "output.tar.gz") == (
        "s3://bucket/results/job/output/output.tar.gz"
    )
