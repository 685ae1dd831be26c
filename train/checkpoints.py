"""Everything that a job needs to go on after it was killed, on disk, never half-written.

A file is a magic line, the SHA-256 of the rest, and a torch archive of tensors and plain values that is read
without running code. The newest two are kept: when the newest is damaged, the one before serves.
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from contract.files import write_atomically
from contract.hyperparameters import FREE, Settings
from train.distributed import Process
from train.errors import TrainingError
from train.listing import Listing

log = logging.getLogger("train")

_MAGIC: Final = b"byoc checkpoint 3\n"  # count on when what a state holds changes
_KEEP: Final = 2
_NAME: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")  # SageMaker's, of a training job
State = dict[str, Any]


def folder_of_job(folder: Path, environment: Mapping[str, str], hyperparameters: Mapping[str, str]) -> Path:
    """Where a job keeps its checkpoints below the platform's folder: a trial in one of its own.

    All trials of a tuning job have the same address in S3, whose content each of them may be given at its
    start; SageMaker names the objective to those only.
    """
    if "_tuning_objective_metric" not in hyperparameters:
        return folder
    name = environment.get("TRAINING_JOB_NAME", "")
    return folder / name if _NAME.fullmatch(name) else folder


def clear(folder: Path) -> None:
    """Drop the checkpoints of a trial that has completed: nothing will go on from them.

    Other jobs' trials would be sent them, and S3 would keep them for ever.
    """
    try:
        for path in [*_newest_first(folder), *folder.glob(".checkpoint-*")]:
            path.unlink(missing_ok=True)
        folder.rmdir()
    except FileNotFoundError:
        return  # it kept none
    except OSError as error:  # the training is complete all the same
        log.warning("the checkpoints in %s stay: %s", folder, error.strerror or error)


def check_disk(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """TrainingError if the disk has no room for the checkpoints that will lie there at a time.

    Before the first step is paid for, not ten minutes later. A state holds at least the weights, the best of
    them so far, and one moment of the optimizer's for each.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    there = sum(path.stat().st_size for path in _newest_first(folder))
    each = 3 * sum(tensor.element_size() * tensor.nelement() for tensor in weights.values())
    needed, free = (_KEEP + 1) * each - there, shutil.disk_usage(existing).free
    if needed > free:
        raise TrainingError(
            f"the disk has no room for checkpoints in {folder}: {_KEEP + 1} of them take at least "
            f"{needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free; give the job a larger volume"
        )


def save(folder: Path, step: int, state: State) -> Path:
    """Write the checkpoint of a step and drop those before the previous one.

    Raises:
        TrainingError: the disk is full or not writable; what was there before is untouched.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    path = folder / f"checkpoint-{step:010d}.pt"
    try:
        write_atomically(path, _MAGIC + hashlib.sha256(payload).digest() + payload, durable=True)
        for old in _newest_first(folder)[_KEEP:]:
            old.unlink(missing_ok=True)
        for leftover in folder.glob(".checkpoint-*"):  # of a process killed while it wrote
            leftover.unlink(missing_ok=True)
    except OSError as error:
        megabytes = len(payload) // 1_000_000
        raise TrainingError(
            f"the checkpoint {path} ({megabytes} MB) could not be written: {error.strerror or error}; "
            "give the job a larger volume"
        ) from error
    return path


def load_newest(folder: Path) -> tuple[State, Path] | None:
    """The newest checkpoint that is whole, or None if there is none at all.

    Raises:
        TrainingError: there are checkpoints, and all are damaged. Starting over in silence would waste the
        job.
    """
    paths = _newest_first(folder) if folder.is_dir() else []
    for path in paths:
        try:
            return _read_checkpoint(path), path
        except (OSError, ValueError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            log.warning("checkpoint %s cannot be used (%s): trying the one before it", path, reason)
    if paths:
        raise TrainingError(
            f"none of the {len(paths)} checkpoints in {folder} can be read; delete them to start from the "
            f"beginning"
        )
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("checkpoint-*.pt") if path.is_file()), reverse=True)


def _read_checkpoint(path: Path) -> State:
    data = path.read_bytes()
    start = len(_MAGIC) + hashlib.sha256().digest_size
    if data.startswith(_MAGIC[:-2]) and not data.startswith(_MAGIC):
        raise ValueError("another version of the trainer wrote it")
    if not data.startswith(_MAGIC) or hashlib.sha256(data[start:]).digest() != data[len(_MAGIC) : start]:
        raise ValueError("its checksum is wrong")
    state: object = torch.load(io.BytesIO(data[start:]), map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("it holds no state")
    return state


class Saver:
    """Decides when to write a checkpoint, and goes on from the newest.

    Args:
        folder: what the platform keeps; SageMaker fills it again when a job is restarted. See
            `folder_of_job`.
        settings, listing: a checkpoint of another job is refused instead of being mixed in.
    """

    def __init__(self, folder: Path, settings: Settings, listing: Listing, process: Process) -> None:
        self.newest: Path | None = None
        self._folder = folder
        self._seconds = settings.checkpoint_every_minutes * 60
        self._steps = settings.checkpoint_every_steps
        self._process = process
        self._last_time, self._last_step = time.monotonic(), 0
        self._job = _identity(settings, listing)

    def due(self, step: int) -> bool:
        """Whether it is time for one, before the step of this number is made."""
        since = step - self._last_step
        long_ago = time.monotonic() - self._last_time >= self._seconds
        return since > 0 and (long_ago or 0 < self._steps <= since)

    def save(self, step: int, state: State) -> None:
        """Write the state before a step; the first rank writes, and all of them count from here on."""
        self._last_time, self._last_step = time.monotonic(), step
        if self._process.is_first:
            self.newest = save(self._folder, step, {"job": self._job, **state})
            log.info("checkpoint %s", self.newest)

    def resume(self, weights: Mapping[str, torch.Tensor]) -> State | None:
        """The state of the newest checkpoint; None where there is none.

        Args:
            weights: of the network, which say how large a checkpoint is.

        Raises:
            TrainingError: it belongs to other settings or pictures, or the disk has no room for checkpoints.
        """
        if self._process.is_first:
            check_disk(self._folder, weights)
        newest = load_newest(self._folder)
        if newest is None:
            return None
        state, path = newest
        different = [name for name, value in self._job.items() if state["job"].get(name) != value]
        if different:
            raise TrainingError(
                f"the checkpoint {path} was made with another {', '.join(different[:5])}: "
                "use the same settings and pictures"
                + (" and as much memory, on which freeze=auto depends" if "freeze" in different else "")
                + ", or an empty checkpoint folder"
            )
        epoch, step = state["progress"]["epoch"], state["progress"]["step"]
        self.newest, self._last_step = path, step
        if state["progress"].get("complete"):
            log.info("going on from %s: the training is complete", path)
        else:
            log.info("going on from %s: epoch %d, step %d", path, epoch + 1, step)
        return state


def _identity(settings: Settings, listing: Listing) -> dict[str, Any]:
    names = hashlib.sha256("\n".join(listing.files).encode("utf-8", "surrogateescape")).hexdigest()
    wanted = {name: value for name, value in settings.to_json().items() if name not in FREE}
    return {**wanted, "classes": list(listing.classes), "pictures": names}
