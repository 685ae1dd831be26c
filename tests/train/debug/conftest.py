"""A private /opt/ml with debugger and profiler configurations."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# smdebug's generated code needs it, and protobuf reads it only once.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
os.environ.setdefault("SMDEBUG_LOG_LEVEL", "error")


class Job:
    """The folders of one training job."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.tensors = base / "output/tensors"
        self.profiler = base / "output/profiler"
        self.environment = {"SAGEMAKER_BASE_DIR": str(base), "SM_CURRENT_HOST": "algo-1"}
        (base / "input/config").mkdir(parents=True)

    def hook(self, *collections: tuple[str, dict[str, str]], **parameters: str) -> None:
        """Write debughookconfig.json."""
        self.write(
            "debughookconfig",
            {
                "LocalPath": str(self.tensors),
                "HookParameters": parameters,
                "CollectionConfigurations": [
                    {"CollectionName": name, "CollectionParameters": values} for name, values in collections
                ],
            },
        )

    def profile(self, **parameters: str) -> None:
        """Write profilerconfig.json."""
        self.write("profilerconfig", {"ProfilingParameters": {"LocalPath": str(self.profiler), **parameters}})

    def write(self, name: str, content: Any) -> None:
        """Write one of the platform's configuration files."""
        (self.base / f"input/config/{name}.json").write_text(json.dumps(content))

    def trial(self) -> Any:
        """The tensors as smdebug's own reader sees them, the job being over."""
        self.tensors.mkdir(parents=True, exist_ok=True)
        (self.tensors / "training_job_end.ts").touch()
        os.environ["SMDEBUG_TRAINING_END_DELAY_REFRESH"] = "0"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from smdebug.trials import create_trial

            return create_trial(str(self.tensors))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("TRAINING_JOB_NAME", "job")
    return Job(tmp_path)


@pytest.fixture
def train() -> Callable[..., None]:
    """Trains a few steps as the training loop does."""
    import torch

    def run(
        monitor: Any,
        model: Any,
        loss: Any,
        optimizer: Any,
        steps: int = 6,
        first: int = 0,
        channels: int = 3,
        evaluate: int = 0,
        backward: Callable[[Any], None] | None = None,
        update: Callable[[int], None] | None = None,
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(8, channels, 8, 8, generator=generator)
        labels = torch.randint(0, 4, (8,), generator=generator)
        for step in range(first, first + steps):
            with monitor.step("TRAIN", step):
                with monitor.phase("forward"):
                    value = loss(model(inputs), labels)
                with monitor.phase("backward"):
                    (backward or (lambda scalar: scalar.backward()))(value)
                with monitor.phase("optimizer"):
                    if update is None:
                        optimizer.step()
                        optimizer.zero_grad()
                    else:
                        update(step)
        with torch.no_grad():
            for step in range(evaluate):
                with monitor.step("EVAL", step):
                    loss(model(inputs), labels)

    return run


@pytest.fixture
def model() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(256, 4),
    )
