"""Trials as the hook writes them, without a training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from train.rules.observation import Observation

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
os.environ.setdefault("SMDEBUG_LOG_LEVEL", "error")


class Trial:
    """A trial's folder, written with smdebug's own file writer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def step(self, step: int, mode: str = "TRAIN", number: int | None = None, **tensors: Any) -> None:
        """Write one global step; `__` in a tensor's name stands for `/`, `_o` is not touched."""
        from train.debug import smdebug_glue

        smdebug_glue.load_hook_module()
        from smdebug.core.modes import ModeKeys

        from train.debug.writer import StepWriter

        writer = StepWriter(trial_dir=str(self.root), worker="worker_0", step=step)
        for name, value in tensors.items():
            writer.write_tensor(
                np.asarray(value),
                name.replace("__", "/"),
                mode=ModeKeys[mode],
                mode_step=step if number is None else number,
            )
        writer.close()

    def collections(self, **members: dict[str, Any]) -> None:
        """Write the collections file."""
        folder = self.root / "collections/000000000"
        folder.mkdir(parents=True, exist_ok=True)
        content = {"collections": members, "_meta": {"num_workers": 1}}
        (folder / "worker_0_collections.json").write_text(json.dumps(content))

    def index(self, step: int) -> Path:
        """The index file of a step."""
        return self.root / f"index/{step // 1000:09}/{step:012}_worker_0.json"

    def end(self) -> None:
        """What the platform writes when the job is over."""
        (self.root / "training_job_end.ts").touch()


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path / "tensors")


def observation(step: int, mode: str = "TRAIN", **tensors: Any) -> Observation:
    """One step's tensors; `__` in a name stands for `/`, a trailing dot-part is written with `_dot_`."""
    arrays = {
        name.replace("__", "/").replace("_dot_", "."): np.asarray(value, dtype=np.float32)
        if not isinstance(value, np.ndarray)
        else value
        for name, value in tensors.items()
    }
    return Observation(step=step, global_step=step, mode=mode, worker="worker_0", arrays=arrays)


@pytest.fixture
def observe() -> Any:
    return observation
