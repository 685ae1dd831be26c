"""A job that has a model and no pictures: the model of an older trainer gets its graph."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import architecture, artifact, weights
from model.artifact import GRAPH_FILE, ModelInfo
from model.preprocess import Preprocessing

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def older(job: Any, tmp_path: Path) -> Any:
    """A job whose channel has a model without a graph, packed with what else lies in such archives."""
    folder = tmp_path / "older"
    torch.manual_seed(0)
    module = architecture.build("shufflenet_v2_x0_5", 3)
    info = ModelInfo(
        "shufflenet_v2_x0_5",
        ("blue", "green", "red"),
        Preprocessing.for_size(32),
        metrics={"validation:accuracy": 0.75},
    )
    weights.save(folder, module, info)
    channel = job.channel("model")
    channel.mkdir(parents=True)
    with tarfile.open(channel / "model.tar.gz", "w:gz") as archive:
        archive.add(folder, ".")
        for name in ("../beside", "code/inference.py"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
        link = tarfile.TarInfo("samples.safetensors")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return job


@pytest.fixture
def convert(run: Run) -> Run:
    """Runs a job without hyperparameters but SageMaker's own."""

    def start(job: Any, **settings: object) -> tuple[int, str]:
        job.settings.clear()
        return run(job, sagemaker_region="us-east-1", **settings)

    return start


def test_the_model_gets_its_graph_and_keeps_its_weights(older: Any, convert: Run, tmp_path: Path) -> None:
    code, output = convert(older)
    assert code == 0, output
    model = older.base / "model"
    assert {path.name for path in model.iterdir()} == {artifact.WEIGHTS_FILE, artifact.INFO_FILE, GRAPH_FILE}
    assert not (older.base / "beside").exists()
    before, after = (artifact.read_info(folder) for folder in (tmp_path / "older", model))
    assert after[1] == before[1]
    assert after[0].onnx
    artifact.read_file(model, GRAPH_FILE, after[0].onnx.files[GRAPH_FILE])
    assert "validation_accuracy=0.75" in output


def test_a_channel_without_a_model_is_named(job: Any, convert: Run) -> None:
    channel = job.channel("model")
    channel.mkdir(parents=True)
    assert convert(job)[0] == 1
    assert "channel 'model' must hold a whole model.tar.gz: " in job.failure


def test_an_archive_that_was_cut_off_is_named(older: Any, convert: Run) -> None:
    archive = older.channel("model") / "model.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-2000])
    assert convert(older)[0] == 1
    assert "channel 'model' must hold a whole model.tar.gz: " in older.failure


def test_an_archive_of_another_program_is_named(older: Any, convert: Run) -> None:
    with tarfile.open(older.channel("model") / "model.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    assert convert(older)[0] == 1
    assert "the model cannot be converted: " in older.failure
    assert "model.json" in older.failure


def test_what_sets_something_or_has_other_channels_is_a_training(older: Any, run: Run, convert: Run) -> None:
    assert run(older, lr=0.1)[0] == 1
    assert "has no channel 'train'" in older.failure
    older.channel("training").mkdir()
    assert convert(older)[0] == 1
    assert "call it 'train'" in older.failure


def test_one_process_of_a_host_converts(older: Any, convert: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert convert(older)[0] == 0
    assert not (older.base / "model").exists()


def test_a_file_far_too_large_is_not_unpacked(
    older: Any, convert: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train import convert as module

    monkeypatch.setitem(module._LIMITS, artifact.INFO_FILE, 100)
    assert convert(older)[0] == 1
    assert "model.json in model.tar.gz has " in older.failure
    assert not (older.base / "model" / artifact.INFO_FILE).exists()


def test_a_graph_that_computes_something_else_is_refused(job: Any, convert: Run, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    torch.manual_seed(0)
    side = Preprocessing.for_size(32)
    module = architecture.build("shufflenet_v2_x0_5", 3)
    weights.save(folder, module, ModelInfo("shufflenet_v2_x0_5", ("blue", "green", "red"), side))
    pictures = [np.full((32, 32, 3), 99, np.uint8)] * 2
    artifact.save_samples(folder, pictures, np.array([[1, 0, 0]] * 2, np.float32))
    job.channel("model").mkdir(parents=True)
    with tarfile.open(job.channel("model") / "model.tar.gz", "w:gz") as archive:
        archive.add(folder, ".")
    assert convert(job)[0] == 1
    assert "the graph of shufflenet_v2_x0_5 computes something else" in job.failure
