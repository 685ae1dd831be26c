"""Where a trial or a profile lies: a folder, or an S3 prefix that is copied to one as it grows.

smdebug's S3 reader forks a pool of processes for every poll and retries for minutes in the middle of a rule;
boto3 lists and copies what is new, and takes AWS_ENDPOINT_URL, region and credentials from the environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

_KEY = re.compile(r"[\w.=@+-]{1,200}(/[\w.=@+-]{1,200}){0,10}")
_WANTED = re.compile(
    r"(index|events|collections)/.*|framework/steps/.*|framework/torch/.*-operators\.json|system/incremental/.*|training_job_end\.ts|hook-status\.json"
)


class Source(Protocol):
    """A folder that `sync` brings up to date."""

    folder: Path
    copied: bool  # the folder is ours, and what was read may be deleted

    def sync(self) -> None:
        """Bring the folder up to date."""


class LocalSource:
    """A folder that somebody else fills."""

    copied = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sync(self) -> None:
        """Nothing to do."""


class S3Source:
    """Copies an S3 prefix's new and changed objects to `folder`."""

    copied = True

    def __init__(self, url: str, folder: Path, client: Any = None) -> None:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._bucket = bucket
        self._prefix = prefix.rstrip("/") + "/" if prefix else ""
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._seen: dict[str, str] = {}
        if client is None:
            import boto3

            client = boto3.client("s3")
        self._client = client

    def sync(self) -> None:
        """Copy what is new. Events before their index, as they must be there first."""
        listed: list[tuple[str, str, str]] = []
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        for page in pages:
            for item in page.get("Contents", ()):
                relative = str(item["Key"])[len(self._prefix) :]
                stamp = f"{item.get('ETag')} {item.get('Size')}"
                if self._seen.get(relative) != stamp and _allowed(relative):
                    listed.append((relative, str(item["Key"]), stamp))
        # The end file last: when it is here, so is everything else that was listed.
        order: Callable[[tuple[str, str, str]], tuple[bool, bool, str]] = lambda entry: (  # noqa: E731
            entry[0].endswith(".ts"),
            entry[0].startswith("index/"),
            entry[0],
        )
        for relative, key, stamp in sorted(listed, key=order):
            target = self.folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = target.with_name(target.name + ".part")
            self._client.download_file(self._bucket, key, str(aside))
            aside.replace(target)
            self._seen[relative] = stamp


def _allowed(relative: str) -> bool:
    """Whether a key may become a file below the folder."""
    if not _KEY.fullmatch(relative) or not _WANTED.fullmatch(relative) or relative.endswith(".part"):
        return False
    return not any(part in (".", "..") for part in relative.split("/"))


def open_source(where: str, scratch: Path, name: str) -> Source:
    """The source that a command-line argument names."""
    if where.startswith("s3://"):
        return S3Source(where, scratch / name)
    return LocalSource(Path(where))
