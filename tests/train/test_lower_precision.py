"""Lower precisions measured after a training: what is added to the model, and what leaves it as it is."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch

from model import architecture, artifact, weights
from model.artifact import GRAPH_FILE, INPUT, INT8_FILE, INT8_WEIGHTS_FILE, ModelInfo
from model.preprocess import Preprocessing
from train import graph, listing, lower_precision, quantise
from train.data import Pictures

Run = Callable[..., tuple[int, str]]
SIDE = Preprocessing.for_size(32)


@pytest.fixture
def split(tmp_path: Path, make_pictures: Callable[..., Path]) -> dict[str, Pictures]:
    return {
        "train": Pictures(listing.scan(make_pictures(tmp_path / "train", 20), "train"), SIDE),
        "test": Pictures(listing.scan(make_pictures(tmp_path / "test", 5, 500), "test"), SIDE),
    }


@pytest.fixture
def model(tmp_path: Path, split: dict[str, Pictures]) -> Path:
    """A network that was not trained, with its graph and samples."""
    folder = tmp_path / "model"
    torch.manual_seed(0)
    module = architecture.build("shufflenet_v2_x0_5", 3).eval().requires_grad_(False)
    weights.save(folder, module, ModelInfo("shufflenet_v2_x0_5", ("blue", "green", "red"), SIDE))
    assert graph.add(folder)
    pictures = [split["test"].get(index) for index in range(4)]
    inputs = torch.from_numpy(SIDE.to_input(np.stack(pictures)))  # type: ignore[arg-type]
    artifact.save_samples(folder, pictures, module(inputs).softmax(1).numpy())  # type: ignore[arg-type]
    return folder


def measure(model: Path, split: dict[str, Pictures], **options: Any) -> None:
    lower_precision.measure(
        model,
        split,
        "test",
        scratch=model.parent / "scratch",
        should_stop=options.pop("should_stop", lambda: False),
        **options,
    )


@pytest.mark.slow
def test_a_training_leaves_integers_that_answer_alike(job: Any, run: Run) -> None:
    code, output = run(job.pictures(100, 40), arch="resnet18", epochs=2, quantize="auto")
    assert code == 0, output
    folder = job.base / "model"
    info, _ = artifact.read_info(folder)
    assert info.onnx
    assert set(info.onnx.files) == {GRAPH_FILE, INT8_FILE, INT8_WEIGHTS_FILE}
    for name, record in info.onnx.files.items():
        assert artifact.read_file(folder, name, record)
    int8 = info.onnx.precisions["int8"]
    assert int8["accepted"], int8
    assert int8["pictures"] == 345  # 120 of the evaluation and three quarters of 300
    assert job.report["precisions"]["int8"] == int8
    assert "int8 is accepted" in output
    core = openvino.Core()
    quantised = core.compile_model(core.read_model(folder / INT8_FILE, folder / INT8_WEIGHTS_FILE), "CPU")
    module, _ = weights.load(folder)
    pixels = info.preprocessing.load((job.channel("validation") / "red/1000.png").read_bytes())[None]
    assert quantised({INPUT: pixels})[0].argmax() == module(torch.from_numpy(pixels)).argmax()
    assert not list((job.base / "tmp").glob("tmp*"))


def test_with_few_pictures_there_are_no_integers(
    model: Path, split: dict[str, Pictures], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        measure(model, split)
    info, _ = artifact.read_info(model)
    assert info.onnx
    assert info.onnx.precisions["int8"] == {
        "accepted": False,
        "reason": "75 pictures to judge it by, and it takes 300",
        "pictures": 75,
    }
    assert list(info.onnx.files) == [GRAPH_FILE]
    assert "int8 is not accepted: 75 pictures" in caplog.text
    assert weights.load(model)[1] == info


def test_a_processor_without_lower_precisions_keeps_the_graph(
    model: Path, split: dict[str, Pictures], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found_none(task: quantise.Task, folder: Path, should_stop: Callable[[], bool]) -> str:
        (folder / quantise.RESULT_FILE).write_text(json.dumps({"drift": 3e-8, "precisions": {}}))
        return ""

    monkeypatch.setattr(lower_precision, "_quantise", found_none)
    measure(model, split)
    info, _ = artifact.read_info(model)
    assert info.onnx
    assert list(info.onnx.precisions) == ["int8"]


def test_a_graph_that_computes_something_else_is_withdrawn(
    model: Path, split: dict[str, Pictures], caplog: pytest.LogCaptureFixture
) -> None:
    pictures = [np.full((32, 32, 3), 99, np.uint8)] * 2
    artifact.save_samples(model, pictures, np.array([[1, 0, 0]] * 2, np.float32))
    measure(model, split)
    assert artifact.read_info(model)[0].onnx is None
    assert not (model / GRAPH_FILE).exists()
    assert "model.onnx is withdrawn" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds_left": 60.0}, "max_minutes leaves 60 s for it"),
        ({"should_stop": lambda: True}, "the job is to stop"),
        ({"seconds": -lower_precision._GRACE}, "it took more than 0 s"),
    ],
)
def test_without_time_the_model_stays_as_it_is(
    model: Path,
    split: dict[str, Pictures],
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    message: str,
) -> None:
    before = artifact.read_info(model)
    with caplog.at_level(logging.INFO):
        measure(model, split, **options)
    assert message in caplog.text
    assert artifact.read_info(model) == before


def test_a_crash_in_the_process_that_measures_costs_nothing(
    model: Path, split: dict[str, Pictures], caplog: pytest.LogCaptureFixture
) -> None:
    before = artifact.read_info(model)
    (model / "samples.safetensors").write_bytes(b"damaged")
    measure(model, split)
    assert "no lower precision is measured: it failed (" in caplog.text
    assert artifact.read_info(model) == before


def test_without_nncf_the_log_says_so(
    model: Path,
    split: dict[str, Pictures],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with caplog.at_level(logging.INFO):
        measure(model, split)
    assert "nncf is not installed" in caplog.text


def test_no_picture_calibrates_and_judges(tmp_path: Path, make_pictures: Callable[..., Path]) -> None:
    folders = {
        name: make_pictures(tmp_path / name, 110, first) for name, first in (("train", 0), ("test", 500))
    }
    pictures = {name: Pictures(listing.scan(folder, name), SIDE) for name, folder in folders.items()}
    calibrate, judge = lower_precision.choose(pictures, "test")
    judging = [file for file, _ in judge]
    assert len(calibrate) == 82
    assert all("/train/" in file for file in calibrate)
    assert not set(calibrate) & set(judging)
    assert sorted(calibrate + judging) == sorted(
        str(path) for folder in folders.values() for path in folder.rglob("*.png")
    )
    assert all("/test/" in file for file in judging[:330])
    assert {(Path(file).parent.name, label) for file, label in judge} == {
        ("blue", 0),
        ("green", 1),
        ("red", 2),
    }
