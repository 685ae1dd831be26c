"""Buckets: folders of the home folder."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.s3.database import Database
from local.s3.errors import S3Error, no_such_bucket


@dataclass(frozen=True)
class Bucket:
    """`region`: empty for a bucket that was made as a folder; `created`: epoch seconds."""

    name: str
    region: str
    created: float
    tags: Mapping[str, str] = field(default_factory=dict)


class Buckets:
    """All buckets below `root`."""

    def __init__(self, root: Path, database: Database) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._run = database.run

    def folder(self, name: str) -> Path:
        """S3Error if there is no such bucket."""
        folder = self._root / name
        if not _is_bucket(self._root, name):
            raise no_such_bucket(name)
        return folder

    def get(self, name: str) -> Bucket:
        """S3Error if there is no such bucket."""
        folder = self.folder(name)
        rows = self._run("SELECT region, created, tags FROM buckets WHERE name = ?", name)
        if not rows:
            try:
                return Bucket(name, "", folder.stat().st_mtime)
            except FileNotFoundError:
                raise no_such_bucket(name) from None
        region, created, tags = rows[0]
        return Bucket(name, region, created, json.loads(tags))

    def all(self) -> list[Bucket]:
        """By name."""
        names = sorted(entry.name for entry in os.scandir(self._root) if _is_bucket(self._root, entry.name))
        buckets = []
        for name in names:
            with contextlib.suppress(S3Error):  # deleted meanwhile
                buckets.append(self.get(name))
        return buckets

    def create(self, name: str, region: str) -> None:
        """S3Error if it is there already."""
        try:
            (self._root / name).mkdir()
        except FileExistsError:
            raise S3Error(
                409,
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
                BucketName=name,
            ) from None
        self._put(Bucket(name, region, time.time()))

    def tag(self, name: str, tags: Mapping[str, str]) -> None:
        """In place of the tags that it has. S3Error."""
        bucket = self.get(name)
        self._put(Bucket(name, bucket.region, bucket.created, tags))

    def forget(self, name: str) -> None:
        """Its folder is gone."""
        self._run("DELETE FROM buckets WHERE name = ?", name)

    def _put(self, bucket: Bucket) -> None:
        self._run(
            "INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?)",
            bucket.name, bucket.region, bucket.created, json.dumps(bucket.tags),
        )  # fmt: skip


def _is_bucket(root: Path, name: str) -> bool:
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        return False
    try:
        name.encode()
        return stat.S_ISDIR(os.lstat(root / name).st_mode)
    except (OSError, UnicodeEncodeError):
        return False
