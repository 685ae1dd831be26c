"""A job that has a model and no pictures: the model of an older trainer gets its graph."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_the_model_gets_its_graph_and_keeps_its_weights(older: Any, run: Run, tmp_path: Path) -> None:
    code, output = run(older, quantize="auto")
    assert code == 0, output
    model = older.base / "model"
    assert {path.name for path in model.iterdir()} == {artifact.WEIGHTS_FILE, artifact.INFO_FILE, GRAPH_FILE}
    assert not (older.base / "beside").exists()
    before, after = (artifact.read_info(folder) for folder in (tmp_path / "older", model))
    assert after[1] == before[1]
    assert after[0].onnx
    artifact.read_file(model, GRAPH_FILE, after[0].onnx.files[GRAPH_FILE])
    assert "validation_accuracy=0.75" in output


def test_a_channel_without_a_model_is_named(job: Any, run: Run) -> None:
    channel = job.channel("model")
    channel.mkdir(parents=True)
    assert run(job)[0] == 1
    assert "channel 'model' must hold a whole model.tar.gz: " in job.failure


def test_an_archive_that_was_cut_off_is_named(older: Any, run: Run) -> None:
    archive = older.channel("model") / "model.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-2000])
    assert run(older)[0] == 1
    assert "channel 'model' must hold a whole model.tar.gz: " in older.failure


def test_an_archive_of_another_program_is_named(older: Any, run: Run) -> None:
    with tarfile.open(older.channel("model") / "model.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    assert run(older)[0] == 1
    assert "the model cannot be converted: " in older.failure
    assert "model.json" in older.failure
