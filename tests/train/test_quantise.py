"""The process that quantises, on a network that OpenVINO is touchy about."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model import architecture, artifact, weights
from model.artifact import INT8_FILE, INT8_WEIGHTS_FILE, ModelInfo
from model.preprocess import Preprocessing
from train import graph
from train.quantise import RESULT_FILE, Task

ROOT = Path(__file__).resolve().parents[2]
SIDE = Preprocessing.for_size(32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    module = architecture.build("mobilenet_v3_small", 3).eval().requires_grad_(False)
    weights.save(folder, module, ModelInfo("mobilenet_v3_small", ("blue", "green", "red"), SIDE))
    assert graph.add(folder)
    pictures = [np.full((32, 32, 3), 50 * number, np.uint8) for number in range(4)]
    inputs = torch.from_numpy(SIDE.to_input(np.stack(pictures)))
    artifact.save_samples(folder, pictures, module(inputs).softmax(1).numpy())
    return folder


@pytest.mark.slow
def test_a_mobilenet_in_integers_is_judged_by_all_pictures_that_can_be_read(
    model: Path, tmp_path: Path, make_pictures: Callable[..., Path]
) -> None:
    files = sorted(map(str, make_pictures(tmp_path / "train", 120).rglob("*.png")))
    Path(files[50]).write_bytes(b"damaged")
    task = Task(str(model), str(tmp_path), files[:40], [(file, 0) for file in files[40:]], 300.0, 1)
    task.write(tmp_path / "task.json")
    command = [sys.executable, "-m", "train.quantise", str(tmp_path / "task.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / RESULT_FILE).read_text())
    assert result["drift"] < 1e-4
    assert result["precisions"]["int8"]["pictures"] == 319
    assert (tmp_path / INT8_FILE).stat().st_size > 0
    assert (tmp_path / INT8_WEIGHTS_FILE).stat().st_size < (model / "model.safetensors").stat().st_size / 2
