"""A private /opt/ml with SageMaker's configuration files, and trials as the hook writes them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.findings import Findings
from debugger.observation import Observation, Reducer
from debugger.rules.registry import make
from debugger.rules.rule import Rule

# smdebug's generated code needs it, and protobuf reads it only once.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
os.environ.setdefault("SMDEBUG_LOG_LEVEL", "error")


OFF = '{"enabled": false, "profile": false}'


class Job:
    """The folders of one training job."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.output = base / "output/data"
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

    def monitor(
        self, model: Any, loss: Any = None, *, rank: int = 0, debugger: str = OFF, **more: Any
    ) -> Any:
        """What the training loop calls; without our own rules and measurements, unless `debugger` says so."""
        from debugger.monitor import Monitor

        environment = {**self.environment, "BYOC_DEBUGGER": debugger, "TRAINING_JOB_NAME": "job"}
        return Monitor.start(
            model=model, loss=loss, output=self.output, rank=rank, environment=environment, **more
        )

    def findings(self) -> Findings:
        """What the rules have written."""
        return Findings.from_dict(json.loads((self.output / "debugger/findings.json").read_text()))

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
            monitor.trained(step, value.item(), 8)
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


class Trial:
    """A trial's folder, written with smdebug's own file writer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def step(self, step: int, mode: str = "TRAIN", number: int | None = None, **tensors: Any) -> None:
        """Write one global step; `__` in a tensor's name stands for `/`, `_o` is not touched."""
        from debugger.smdebug_files import glue

        glue.load_hook_module()
        from smdebug.core.modes import ModeKeys

        from debugger.smdebug_files.writer import StepWriter

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


def observation(
    step: int,
    mode: str = "TRAIN",
    *,
    pictures: int | None = None,
    reducer: Reducer | None = None,
    **tensors: Any,
) -> Observation:
    """One step's tensors; `__` in a name stands for `/`, a trailing dot-part is written with `_dot_`."""
    arrays = {
        name.replace("__", "/").replace("_dot_", "."): np.asarray(value, dtype=np.float32)
        if not isinstance(value, np.ndarray)
        else value
        for name, value in tensors.items()
    }
    reducer = Reducer() if reducer is None else reducer
    return Observation(
        step=step, mode=mode, pictures=pictures,
        tensors={name: reducer.tensor(name, array, step, "worker_0") for name, array in arrays.items()},
    )  # fmt: skip


@pytest.fixture
def observe() -> Any:
    """Makes observations of one job: a weight is compared with the one before it."""
    reducer = Reducer()
    return lambda *arguments, **tensors: observation(*arguments, **{"reducer": reducer, **tensors})


def rule(name: str, **parameters: object) -> Rule:
    return make(name, parameters)


def losses(checked: Rule, values: Any, observe: Any, mode: str = "TRAIN", every: int = 1) -> Rule:
    for index, value in enumerate(values):
        checked.observe(observe(index * every, mode, Loss_output_0=value))
    return checked


@pytest.fixture
def noise() -> Any:
    return np.random.default_rng(0)
