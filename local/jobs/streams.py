"""What flows between a running job's folders and its buckets: checkpoints, tensors, profiles, TensorBoard."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local.jobs.artifacts import put_uncompressed
from local.jobs.contract import Host
from local.jobs.files import open_below
from local.jobs.mirror import Mirror, Syncer
from local.jobs.services import Services, log

END_FILE = "training_job_end.ts"

# Configuration block, and where below its S3 path the job's files go.
_BLOCKS = (
    ("CheckpointConfig", ""),
    ("DebugHookConfig", "/{job}/debug-output"),
    ("ProfilerConfig", "/{job}/profiler-output"),
    ("TensorBoardOutputConfig", "/{job}/tensorboard-output"),
)


class Streams:
    """Restores checkpoints, then keeps the buckets up to date until `finish`.

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
        self._profile = mirrors.get("ProfilerConfig")
        self._syncer = Syncer(list(mirrors.values()), report)

    def finish(self) -> None:
        """The job has ended: writes the end files of tensors and profiles, and brings the last files away."""
        for block in ("DebugHookConfig", "ProfilerConfig"):
            if block in self._folders:
                with contextlib.suppress(OSError):  # the job has put a link or a file in the folder's place
                    path = self._folders[block] / END_FILE
                    os.close(open_below(self._base, path, os.O_WRONLY | os.O_CREAT, make=True))
        self._syncer.finish()

    def finish_profile(self) -> None:
        """After `finish`: brings away the samples that were written until their process saw the end."""
        if self._profile is not None:
            try:
                self._profile.sync()
            except OSError as error:
                log.warning("cannot sync the last samples to the bucket: %s", error)

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


def _unfinished(path: Path) -> bool:
    """Whether a file's name is one that writers give it until it is whole."""
    return path.suffix == ".tmp" or path.name.startswith(".checkpoint-")
