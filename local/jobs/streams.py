"""What flows between a running job's folders and its buckets: checkpoints, tensors, profiles, TensorBoard."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from contract.names import DEBUG_OUTPUT
from local.jobs.artifacts import put_uncompressed
from local.jobs.contract import Host
from local.jobs.files import open_below
from local.jobs.mirror import Mirror, Syncer
from local.jobs.services import Services, log

END_FILE = "training_job_end.ts"

# Configuration block, and where below its S3 path the job's files go.
_BLOCKS = (
    ("CheckpointConfig", ""),
    ("DebugHookConfig", f"/{{job}}/{DEBUG_OUTPUT}"),
    ("ProfilerConfig", "/{job}/profiler-output"),
    ("TensorBoardOutputConfig", "/{job}/tensorboard-output"),
)


class Streams:
    """Restores checkpoints, then keeps the buckets up to date until `pause` or `finish`.

    Of several hosts, the first one's files are the job's. `report` takes a problem for the job's log.
    ValueError for an S3 path that is none, OSError if the checkpoints cannot be restored.
    """

    def __init__(
        self,
        services: Services,
        doc: Mapping[str, Any],
        host: Host,
        scratch: Path,
        report: Callable[[str], None],
    ) -> None:
        self._base = host.base
        self._buckets = services.config.s3_root
        self._folders = {
            block: folder
            for block, _ in _BLOCKS
            if (folder := host.local(services.runtime, doc, block)) is not None
        }
        mirrors: dict[str, Mirror] = {}
        for block, below in _BLOCKS:
            uri = doc.get(block, {}).get("S3OutputPath") or doc.get(block, {}).get("S3Uri")
            if not uri or block not in self._folders:
                continue
            target = services.config.output_path(uri.rstrip("/") + below.format(job=doc["TrainingJobName"]))
            mirrors[block] = self._mirror(block, target, scratch)
        self._for_rules = {block: mirrors.get(block) for block in ("DebugHookConfig", "ProfilerConfig")}
        self._syncer = Syncer(list(mirrors.values()), report)
        self._paused = self._finished = False

    def pause(self) -> None:
        """The job's containers have ended, and perhaps they start again: brings the last files away."""
        if not self._paused:
            self._paused = True
            self._syncer.finish()

    def finish(self) -> None:
        """The job has ended: writes the end files of tensors and profiles.

        Checkpoints are not looked at any more: their folder may be another attempt's, and empty.
        """
        if self._finished:
            return
        self._finished = True
        self.pause()
        for block, mirror in self._for_rules.items():
            if block in self._folders:
                with contextlib.suppress(OSError):  # the job has put a link or a file in the folder's place
                    path = self._folders[block] / END_FILE
                    os.close(open_below(self._base, path, os.O_WRONLY | os.O_CREAT, make=True))
                _sync(mirror)

    def finish_profile(self) -> None:
        """After `finish`: brings away the samples that were written until their process saw the end."""
        _sync(self._for_rules["ProfilerConfig"])

    def _mirror(self, block: str, target: Path, scratch: Path) -> Mirror:
        folder = self._folders[block]
        bucket = self._buckets / target.relative_to(self._buckets).parts[0]
        if block != "CheckpointConfig":
            return Mirror(folder, target, scratch, skip=_unfinished, base=self._base, bucket=bucket)
        if target.is_dir():
            put_uncompressed(target, folder, scratch)
        mirror = Mirror(
            folder, target, scratch, deletions=True, skip=_unfinished, base=self._base, bucket=bucket
        )
        mirror.known()
        return mirror


def _sync(mirror: Mirror | None) -> None:
    if mirror is not None:
        try:
            mirror.sync()
        except OSError as error:
            log.warning("cannot sync the last files to the bucket: %s", error)


def _unfinished(path: Path) -> bool:
    """Whether a file's name is one that writers give it until it is whole."""
    return path.suffix == ".tmp" or path.name.startswith(".checkpoint-")
