"""The first start on a home folder whose buckets an older version of the local SageMaker served.

That version ran rclone, which named uploads under way `.rclone_temp_…` in the buckets' folders, and kept the
tags of buckets as XML documents in `bucket-tags/`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from local.s3 import described, xmlbody
from local.s3.buckets import Buckets
from local.s3.database import Database
from local.s3.errors import S3Error

log = logging.getLogger(__name__)

_UNFINISHED = ".rclone_temp_"
_VERSION = 1  # of the home folder, in the database's user_version; 0: not yet upgraded


def upgrade(home: Path, buckets_root: Path, database: Database, buckets: Buckets) -> None:
    """Takes the older version's bucket tags over, and removes its unfinished uploads; once for each home."""
    if database.run("PRAGMA user_version")[0][0] >= _VERSION:
        return
    _take_tags_over(home / "bucket-tags", buckets)
    _remove_unfinished(buckets_root)
    database.run(f"PRAGMA user_version = {_VERSION}")


def _take_tags_over(folder: Path, buckets: Buckets) -> None:
    """Removes the folder; documents that cannot be read stay in it, and the log names them."""
    for file in sorted(folder.glob("*.xml")):
        try:
            pairs = [
                {"Key": tag.findtext("Key", ""), "Value": tag.findtext("Value", "")}
                for tag in xmlbody.parse(file.read_bytes()).iter("Tag")
            ]
            tags = described.tags_of(pairs, "bucket")
            if not buckets.get(file.stem).tags:  # else they are newer
                buckets.tag(file.stem, tags)
        except S3Error as error:
            if error.code != "NoSuchBucket":  # a bucket that is gone needs no tags
                log.warning(
                    "the tags in %s are not taken over (%s): tag the bucket anew", file, error.message
                )
                continue
        file.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _remove_unfinished(buckets_root: Path) -> None:
    for folder, _, names in os.walk(buckets_root):
        for name in names:
            if name.startswith(_UNFINISHED):
                path = Path(folder, name)
                path.unlink(missing_ok=True)
                log.info("removed %s, which an upload under an older version left", path)
