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
from local.jobs.services import Services
from local.jobs.system_metrics import DEFAULT_INTERVAL, SystemSampler

END_FILE = "training_job_end.ts"

# Configuration block, and where below its S3 path the job's files go.
_BLOCKS = (
    ("CheckpointConfig", ""),
    ("DebugHookConfig", "/{job}/debug-output"),
    ("ProfilerConfig", "/{job}/profiler-output"),
    ("TensorBoardOutputConfig", "/{job}/tensorboard-output"),
)


class Streams:
    """Restores checkpoints, then keeps the buckets up to date and samples the machine, until `finish`.

    Of several hosts, the first one's files are the job's. `report` takes a problem to be told in the log.
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
        self._folders = {
            block: folder
            for block, _ in _BLOCKS
            if (folder := host.local(services.runtime, doc, block)) is not None
        }
        mirrors = []
        for block, below in _BLOCKS:
            uri = doc.get(block, {}).get("S3OutputPath") or doc.get(block, {}).get("S3Uri")
            if not uri or block not in self._folders:
                continue
            target = services.config.bucket_path(uri.rstrip("/") + below.format(job=doc["TrainingJobName"]))
            mirrors.append(self._mirror(block, target, scratch))
        self._syncer = Syncer(mirrors, report)
        self._sampler = self._sample(doc.get("ProfilerConfig"), host.name)

    def finish(self) -> None:
        """The job has ended: tells the readers of tensors and profiles so, and brings the last files away."""
        if self._sampler is not None:
            self._sampler.close()
        for block in ("DebugHookConfig", "ProfilerConfig"):
            if block in self._folders:
                with contextlib.suppress(OSError):  # the job has put a link or a file in the folder's place
                    path = self._folders[block] / END_FILE
                    os.close(open_below(self._base, path, os.O_WRONLY | os.O_CREAT, make=True))
        self._syncer.finish()

    def _mirror(self, block: str, target: Path, scratch: Path) -> Mirror:
        folder = self._folders[block]
        if block != "CheckpointConfig":
            return Mirror(folder, target, scratch, skip=_unfinished, base=self._base)
        if target.is_dir():
            put_uncompressed(target, folder, scratch)
        mirror = Mirror(folder, target, scratch, deletions=True, base=self._base)
        mirror.known()
        return mirror

    def _sample(self, profiler: Mapping[str, Any] | None, node: str) -> SystemSampler | None:
        """System metrics. All containers share this machine; one of them stands for it."""
        if profiler is None or profiler.get("DisableProfiler", False):
            return None
        interval = int(profiler.get("ProfilingIntervalInMilliseconds", DEFAULT_INTERVAL))
        return SystemSampler(self._folders["ProfilerConfig"], node, interval, self._base)


def _unfinished(path: Path) -> bool:
    return path.suffix == ".tmp"
