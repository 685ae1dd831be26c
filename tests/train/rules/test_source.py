"""Copying from S3, against a stand-in for the client's two calls that are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from train.rules.source import S3Source


class FakeS3:
    """Lists and downloads from a dict."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.downloads: list[str] = []

    def get_paginator(self, name: str) -> FakeS3:
        assert name == "list_objects_v2"
        return self

    def paginate(self, **request: Any) -> list[dict[str, Any]]:
        found = [
            {"Key": key, "ETag": str(hash(value)), "Size": len(value)}
            for key, value in self.objects.items()
            if key.startswith(request["Prefix"])
        ]
        return [{"Contents": found}, {}]

    def download_file(self, bucket: str, key: str, target: str) -> None:
        self.downloads.append(key)
        Path(target).write_bytes(self.objects[key])


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


def test_new_and_changed_objects_are_copied_events_first_and_the_end_last(tmp_path: Path, s3: FakeS3) -> None:
    s3.objects = {
        "p/debug-output/training_job_end.ts": b"",
        "p/debug-output/index/000000000/000000000000_worker_0.json": b"{}",
        "p/debug-output/events/000000000000/000000000000_worker_0.tfevents": b"e",
        "p/debug-output/other.txt": b"x",
        "p/debug-output-2/index/a.json": b"x",
    }
    source = S3Source("s3://bucket/p/debug-output", tmp_path / "copy", s3)
    source.sync()
    assert [key.rsplit(".", 1)[1] for key in s3.downloads] == ["tfevents", "json", "ts"]
    source.sync()
    assert len(s3.downloads) == 3
    s3.objects["p/debug-output/index/000000000/000000000000_worker_0.json"] = b"{ }"
    source.sync()
    assert len(s3.downloads) == 4


@pytest.mark.parametrize(
    "key",
    [
        "index/../../../evil.json",
        "index/./x.json",
        "/index/x.json",
        "index//x.json",
        "index/a\nb",
        "index/..",
    ],
)
def test_a_key_that_would_leave_the_folder_is_not_copied(tmp_path: Path, s3: FakeS3, key: str) -> None:
    s3.objects = {f"p/{key}": b"x"}
    S3Source("s3://bucket/p", tmp_path / "copy", s3).sync()
    assert s3.downloads == []
    assert not list((tmp_path / "copy").iterdir())
