"""A private /opt/ml with small pictures, for jobs that train in a second or two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
COLOURS = {"blue": 2, "green": 1, "red": 0}
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")


def picture(channel: int, seed: int, size: tuple[int, int] = (40, 36)) -> Image.Image:
    """Noise with one colour stronger than the others: easy to learn, no two alike."""
    pixels = np.random.default_rng([channel, seed]).integers(0, 130, (size[1], size[0], 3), dtype=np.uint8)
    pixels[..., channel] += 110
    return Image.fromarray(pixels)


def fill(folder: Path, per_class: int = 8, first: int = 0) -> Path:
    """A folder for each colour, with `per_class` pictures that no other `first` has."""
    for name, channel in COLOURS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + per_class):
            picture(channel, number).save(folder / name / f"{number}.png")
    return folder


class SageMakerJob:
    """The folders of one training job, and two ways to run it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.settings: dict[str, Any] = {
            "arch": "shufflenet_v2_x0_5",
            "weights": "none",
            "image_size": "32",
            "batch_size": "8",
            "epochs": "2",
            "quantize": "off",
        }
        self.config("resourceconfig", {"current_host": "localhost", "hosts": ["localhost"]})

    def config(self, name: str, content: Any) -> None:
        path = self.base / f"input/config/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    def channel(self, name: str) -> Path:
        return self.base / "input/data" / name

    def pictures(self, train: int = 8, validation: int = 4) -> SageMakerJob:
        fill(self.channel("train"), train)
        if validation:
            fill(self.channel("validation"), validation, first=1000)
        return self

    def configure(self, **settings: object) -> dict[str, str]:
        """Write what SageMaker hands over before it starts the container; environment for a process."""
        wanted = {name: str(value) for name, value in {**self.settings, **settings}.items()}
        self.config("hyperparameters", wanted)
        channels = sorted(path.name for path in self.base.glob("input/data/*"))
        file_mode = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
        self.config("inputdataconfig", dict.fromkeys(channels, file_mode))
        return {"SAGEMAKER_BASE_DIR": str(self.base), "TRAINING_JOB_NAME": "colours"}

    def start(self, program: str = "docker/bin/train", **settings: object) -> subprocess.Popen[str]:
        """The container's command (or train/train.py without the toolkit) as a process of its own."""
        environment = {**os.environ, **self.configure(**settings), "BYOC_PYTHON": sys.executable}
        environment["PYTHONPATH"] = str(ROOT)
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
        command = [str(ROOT / program)] if program.startswith("docker/") else [sys.executable, "-m", program]
        return subprocess.Popen(
            command,
            cwd=self.base,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def torchrun(
        self,
        processes: int,
        program: Sequence[str] = ("-m", "train.train"),
        environment: Mapping[str, str] = MappingProxyType({}),
        **settings: object,
    ) -> subprocess.CompletedProcess[str]:
        """The training as so many processes."""
        own = {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc_per_node", str(processes), *program),
            ],
            check=False, cwd=self.base, capture_output=True, text=True, timeout=300,
            env={**os.environ, **self.configure(**settings), **own, **environment},
        )  # fmt: skip

    @property
    def failure(self) -> str:
        path = self.base / "output/failure"
        return path.read_text() if path.exists() else ""

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.base / "output/data/report.json").read_text())
        return found

    @property
    def weights(self) -> bytes:
        return (self.base / "model/model.safetensors").read_bytes()


@pytest.fixture
def job(tmp_path: Path) -> SageMakerJob:
    """A job in a folder with a space and a quote in its name."""
    return SageMakerJob(tmp_path / "my 'job'")


@pytest.fixture
def new_job(tmp_path: Path) -> Callable[[str], SageMakerJob]:
    """Several jobs in one test."""
    return lambda name: SageMakerJob(tmp_path / name)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs train.py's main here, in this process; returns its exit code and what it printed.

    Without quantize="auto" it exports no graph, which takes longer than such a training; `start` and
    `torchrun` do.
    """

    def start(job: SageMakerJob, **settings: object) -> tuple[int, str]:
        import signal

        from train import graph, outputs, train

        exporting = graph if settings.get("quantize") == "auto" else SimpleNamespace(add=lambda folder: False)
        monkeypatch.setattr(outputs, "graph", exporting)
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power fails here; a busy disk is slow
        for name, value in job.configure(**settings).items():
            monkeypatch.setenv(name, value)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        capsys.readouterr()
        try:
            code = train.main()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return start


@pytest.fixture
def make_pictures() -> Callable[..., Path]:
    return fill


@pytest.fixture
def make_picture() -> Callable[..., Image.Image]:
    return picture


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as threads:
        yield threads


@pytest.fixture
def folder(tmp_path: Path, make_pictures: Callable[..., Path]) -> Path:
    return make_pictures(tmp_path / "train", 7)
