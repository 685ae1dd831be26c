"""Input channels: what S3 prefixes hold becomes files in `/opt/ml/input/data/<channel>`."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from contract import s3
from local.config import Config
from local.jobs.files import copy_data, regular_files


class DataProblem(Exception):
    """Input that cannot be brought to the job; the text is a FailureReason."""


def input_data_config(channels: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """The content of `inputdataconfig.json`."""
    described = {}
    for channel in channels:
        source = channel["DataSource"].get("S3DataSource", {})
        described[channel["ChannelName"]] = {
            "TrainingInputMode": channel.get("InputMode", "File"),
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
        }
    return described


class Downloader:
    """Brings one job's channels into its private folder.

    `role`: named in error messages as on AWS. `cancelled` is asked between files; True ends the work early.
    """

    def __init__(self, config: Config, role: str, cancelled: Callable[[], bool]) -> None:
        self._config = config
        self._role = role
        self._cancelled = cancelled

    def download(self, channel: Mapping[str, Any], folder: Path, host: int = 0, hosts: int = 1) -> int:
        """Fills `folder` with a channel's files, for host number `host` of `hosts`; how many. DataProblem."""
        name = channel["ChannelName"]
        if name in (".", ".."):
            raise DataProblem(f"ClientError: {name!r} cannot be a channel's name.")
        folder.mkdir(parents=True, exist_ok=True)
        mode = channel.get("InputMode", "File")
        source = channel["DataSource"]["S3DataSource"]
        pairs = self.objects(source)
        if source.get("S3DataDistributionType") == "ShardedByS3Key":
            pairs = [pair for number, pair in enumerate(pairs) if number % hosts == host]
        made: set[Path] = set()
        for key, path in pairs:
            if self._cancelled():
                break
            target = folder / key
            if target.parent not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(target.parent)
            try:
                _bring(path, target, linked=mode == "FastFile")
            except OSError as error:
                raise DataProblem(
                    f"ClientError: Data download failed: {source['S3Uri']} (channel {name!r}), object "
                    f"{key!r}: {error.strerror or error}."
                ) from error
        return len(pairs)

    def objects(self, source: Mapping[str, Any]) -> list[tuple[str, Path]]:
        """An S3DataSource's objects: key below its prefix, and file. DataProblem if there are none."""
        uri = source["S3Uri"]
        listed = self._manifest if source.get("S3DataType") == "ManifestFile" else self._prefix
        try:
            objects = list(listed(uri))
        except ValueError as error:
            raise DataProblem(f"ClientError: Data download failed: {error}") from error
        if not objects:
            raise self._nothing(uri)
        return objects

    def _nothing(self, uri: str) -> DataProblem:
        bucket = s3.split(uri)[0]
        return DataProblem(
            f'ClientError: Data download failed:No S3 objects found under S3 URL "{uri}" given in input data '
            f"source. Please ensure that the bucket exists in the selected region ({self._config.region}), "
            f'that objects exist under that S3 prefix, and that the role "{self._role}" has "s3:ListBucket" '
            f'permissions on bucket "{bucket}".'
        )

    def _prefix(self, uri: str) -> Iterator[tuple[str, Path]]:
        path = self._config.bucket_path(uri)
        if path.is_dir():
            for file in regular_files(path):
                yield str(file.relative_to(path)), file
            return
        # A prefix need not end at a slash: `…/img_` means all keys that begin so.
        if uri.endswith("/") or not path.parent.is_dir() or path.parent == self._config.s3_root:
            return
        for entry in sorted(path.parent.iterdir()):
            if not entry.name.startswith(path.name) or entry.is_symlink():
                continue
            files = regular_files(entry) if entry.is_dir() else [entry]
            for file in files:
                yield str(file.relative_to(path.parent)), file

    def _manifest(self, uri: str) -> Iterator[tuple[str, Path]]:
        manifest = self._config.bucket_path(uri)
        if not manifest.is_file():
            raise self._nothing(uri)
        try:
            entries = json.loads(manifest.read_text())
            prefix = entries[0]["prefix"]
            keys = [str(key) for key in entries[1:]]
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(
                f'{uri} is no manifest: expected a JSON list, {{"prefix": "s3://…"}} and then keys.'
            ) from error
        for key in keys:
            file = self._config.bucket_path(prefix + key)
            if not file.is_file():
                raise self._nothing(prefix + key)
            yield str(PurePosixPath(key.lstrip("/"))), file


def _bring(source: Path, target: Path, *, linked: bool) -> None:
    """File mode: a copy, which is the job's own. FastFile: the object itself, read-only as on AWS."""
    if linked:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
        else:
            mode = stat.S_IMODE(target.stat().st_mode)
            target.chmod(mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
            return
    copy_data(source, target)
