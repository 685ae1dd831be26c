from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local.s3.buckets import Buckets
from local.s3.database import Database
from local.s3.upgrade import upgrade

TAGGING = (
    '<?xml version="1.0"?><Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>'
    "<Tag><Key>team</Key><Value>a &amp; b</Value></Tag><Tag><Key>empty</Key><Value/></Tag></TagSet></Tagging>"
)


@pytest.fixture
def old_home(tmp_path: Path) -> Path:
    """As the version that ran rclone left it: buckets are folders, and there is no database."""
    home = tmp_path / "home"
    (home / "bucket-tags").mkdir(parents=True)
    (home / "s3/bucket/deep").mkdir(parents=True)
    (home / "bucket-tags/bucket.xml").write_text(TAGGING)
    (home / "s3/bucket/deep/.rclone_temp_1").write_bytes(b"half")
    (home / "s3/bucket/deep/whole").write_bytes(b"whole")
    return home


def start(home: Path) -> dict[str, dict[str, str]]:
    """The tags of all buckets after a start."""
    database = Database(home / "s3.db")
    buckets = Buckets(home / "s3", database)
    upgrade(home, home / "s3", database, buckets)
    tags = {bucket.name: dict(bucket.tags) for bucket in buckets.all()}
    database.close()
    return tags


def test_tags_are_taken_over_and_unfinished_uploads_removed(old_home: Path) -> None:
    assert start(old_home) == {"bucket": {"team": "a & b", "empty": ""}}
    assert not (old_home / "bucket-tags").exists()
    assert [path.name for path in (old_home / "s3/bucket/deep").iterdir()] == ["whole"]


def test_only_the_first_start_looks(old_home: Path) -> None:
    start(old_home)
    mine = old_home / "s3/bucket/.rclone_temp_mine"
    mine.write_bytes(b"x")
    start(old_home)
    assert mine.exists()


def test_tags_of_a_bucket_that_is_gone_are_forgotten(old_home: Path) -> None:
    (old_home / "bucket-tags/bucket.xml").rename(old_home / "bucket-tags/gone.xml")
    assert start(old_home) == {"bucket": {}}
    assert not (old_home / "bucket-tags").exists()


def test_tags_that_cannot_be_read_stay_and_are_named(
    old_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = old_home / "bucket-tags/bucket.xml"
    file.write_text("<Tagging>")
    assert start(old_home) == {"bucket": {}}
    assert file.exists()
    assert str(file) in caplog.text


def test_the_service_upgrades_its_home(service: Any) -> None:
    service.stop()
    (service.config.home / "s3.db").unlink()
    for suffix in ("-wal", "-shm"):
        (service.config.home / f"s3.db{suffix}").unlink(missing_ok=True)
    left = service.put("s3://bucket/.rclone_temp_1", b"half")
    service.start()
    assert not left.exists()
