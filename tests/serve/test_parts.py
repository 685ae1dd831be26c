"""Precision, explanation, records, memory, folders, S3: the smaller parts."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

from model import artifact
from model.artifact import ArtifactError
from serve import explain, folder, gradcam, memory, precision, s3, supervisor
from serve.classifier import Classifier
from serve.errors import RequestError, ServeError
from serve.metrics import Records, metrics
from serve.settings import Limits

from .conftest import make_model, picture


@pytest.mark.parametrize(
    ("wanted", "kind", "capability", "expected"),
    [
        ("auto", "cpu", None, "fp32"),
        ("auto", "cuda", (8, 6), "bf16"),
        ("auto", "cuda", (7, 5), "fp16"),
        ("auto", "cuda", (6, 1), "fp32"),
        ("bf16", "cpu", None, "bf16"),
    ],
)
def test_which_precision_is_tried(wanted: str, kind: str, capability: Any, expected: str) -> None:
    assert precision.candidate(wanted, kind, capability) == expected


def test_a_precision_that_changes_the_answer_is_refused() -> None:
    def fixed(rows: list[list[float]]) -> Any:
        return lambda _pictures: np.array(rows, dtype=np.float32)

    one = precision.Samples([np.zeros((2, 2, 3), dtype=np.uint8)], "picture")
    assert precision.compare(fixed([[0.51, 0.49]]), fixed([[0.52, 0.48]]), one).passed
    assert "class" in precision.compare(fixed([[0.51, 0.49]]), fixed([[0.49, 0.51]]), one).reason
    assert "0.200" in precision.compare(fixed([[0.7, 0.3]]), fixed([[0.9, 0.1]]), one).reason
    assert "overflows" in precision.compare(fixed([[0.7, 0.3]]), fixed([[np.nan, 0.1]]), one).reason
    trained = dataclasses.replace(one, trained=np.array([[0.9, 0.1]], dtype=np.float32))
    assert "training" in precision.compare(fixed([[0.7, 0.3]]), fixed([[0.7, 0.3]]), trained).reason


PICTURES = np.stack([np.asarray(picture(seed, 32, 32)) for seed in range(3)])
TRAINED = np.full((3, 5), 0.2, dtype=np.float32)


def test_stored_pictures_are_what_precision_is_checked_with(tmp_path: Path) -> None:
    stored = {"pictures": PICTURES, "probabilities": TRAINED}
    safetensors.numpy.save_file(stored, tmp_path / artifact.SAMPLES_FILE)
    found = precision.read_samples(tmp_path, 32, 5)
    np.testing.assert_array_equal(found.pictures, PICTURES)
    assert found.trained is not None
    np.testing.assert_array_equal(found.trained, TRAINED)


def test_without_stored_pictures_patterns_are_made_up_and_named_so(tmp_path: Path) -> None:
    found = precision.read_samples(tmp_path, 48, 5)
    assert {sample.shape for sample in found.pictures} == {(48, 48, 3)}
    assert found.trained is None
    assert "no samples.safetensors" in found.name


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (None, "cannot be read"),
        ({"others": PICTURES}, "must hold 'pictures'"),
        ({"pictures": PICTURES.astype(np.float32)}, "must hold 'pictures', uint8"),
        ({"pictures": PICTURES[:, :16, :16]}, r"\[n, 32, 32, 3\]"),
        ({"pictures": PICTURES[:0]}, "holds 0 pictures"),
        ({"pictures": PICTURES, "probabilities": TRAINED[:2]}, r"float32 \[n, 5\]"),
        ({"pictures": PICTURES, "probabilities": TRAINED * np.float32(np.nan)}, "no numbers"),
        ({"pictures": np.repeat(PICTURES, 100, axis=0)}, "larger than 256"),
    ],
)
def test_stored_pictures_that_do_not_fit_are_told(tmp_path: Path, tensors: Any, says: str) -> None:
    if tensors is None:
        (tmp_path / artifact.SAMPLES_FILE).write_bytes(b"damaged")
    else:
        safetensors.numpy.save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            tmp_path / artifact.SAMPLES_FILE,
        )
    with pytest.raises(precision.BadSamples, match=says):
        precision.read_samples(tmp_path, 32, 5)


@pytest.mark.slow
def test_what_the_trainer_stores_is_what_precision_is_checked_with(tmp_path: Path) -> None:
    make_model(tmp_path, size=32, graph=False)
    full = Classifier.load(tmp_path, "cpu")
    pixels = [full.preprocessing.to_uint8(picture(seed)) for seed in range(3)]
    truth = full.probabilities(pixels)
    artifact.save_samples(tmp_path, pixels, truth)
    checked = Classifier.load(tmp_path, "cpu", numbers="bf16")
    assert checked.engine.precision == "bf16"
    assert "on 3 pictures that the trainer stored" in checked.engine.reason
    artifact.save_samples(tmp_path, pixels, np.roll(truth, 1, axis=1))  # of another model
    doubted = Classifier.load(tmp_path, "cpu", numbers="bf16")
    assert doubted.engine.precision == "fp32"
    assert "off what training found" in doubted.engine.reason


@pytest.mark.slow
def test_a_model_without_or_with_damaged_samples_is_served_and_says_so(tmp_path: Path) -> None:
    make_model(tmp_path, size=32, graph=False)
    without = Classifier.load(tmp_path, "cpu", numbers="bf16")
    assert without.engine.precision == "bf16"
    assert "made up" in without.engine.reason
    (tmp_path / artifact.SAMPLES_FILE).write_bytes(b"damaged")
    damaged = Classifier.load(tmp_path, "cpu", numbers="bf16")
    assert damaged.engine.precision == "fp32"
    assert "samples.safetensors cannot be read" in damaged.engine.reason


@pytest.mark.slow
def test_torchs_bf16_is_served_only_when_it_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path, size=32, graph=False)
    reduced = Classifier.load(tmp_path, "cpu", numbers="bf16")
    full = Classifier.load(tmp_path, "cpu", numbers="fp32")
    assert [one.model["precision"] for one in (reduced, full)] == ["bf16", "fp32"]
    assert [one.model["engine"] for one in (reduced, full)] == ["torch", "torch"]
    pixels = [full.preprocessing.to_uint8(picture(seed)) for seed in range(4)]
    np.testing.assert_allclose(reduced.probabilities(pixels), full.probabilities(pixels), atol=0.03)
    monkeypatch.setattr(precision, "compare", lambda *_: precision.Verdict(False, "it lies"))
    refused = Classifier.load(tmp_path, "cpu", numbers="bf16")
    assert refused.engine.precision == "fp32"
    assert "it lies" in refused.engine.reason


def test_a_network_without_places_cannot_be_explained() -> None:
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    with pytest.raises(explain.CannotExplain):
        gradcam.grad_cam(flat, torch.zeros(1, 3, 2, 2), 0)


def test_an_overlay_is_a_png_of_the_same_size() -> None:
    data = explain.overlay(np.asarray(picture()), np.eye(3, dtype=np.float32))
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("PNG", (90, 70))


def test_records_become_lines_and_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    records = Records(os.fdopen(reading, "rb"), each=True, seconds=3600)
    os.write(writing, b'{"status":200,"total_ms":5.0}\n{"status"')
    assert records.receive()
    os.write(writing, b":503}\nsomething else\n")
    os.close(writing)
    assert not records.receive()
    records.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ['{"status":200,"total_ms":5.0}', '{"status":503}', "something else"]
    assert '"Rejected": 1' in lines[3]


def test_metrics() -> None:
    seen = [{"status": 200, "total_ms": float(ms), "batch": 2, "pictures": 1} for ms in range(1, 101)]
    line = metrics([*seen, {"status": 422}, {"status": 500}], 1.5)
    assert (line["Requests"], line["Errors4xx"], line["Errors5xx"], line["BatchSize"]) == (102, 1, 1, 2.0)
    assert (line["TotalP50"], line["TotalP99"]) == (51.0, 99.0)
    assert "QueueP50" not in line
    assert line["_aws"]["Timestamp"] == 1500
    named = {metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert named <= set(line)


def test_a_model_that_does_not_fit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path)
    monkeypatch.setattr(memory.container, "available_memory", lambda: 50_000_000)
    with pytest.raises(MemoryError, match="MB"):
        memory.require(tmp_path)


@pytest.mark.parametrize("kind", ["link", "folder link", "pickle", "pipe", "deep"])
def test_folders_hold_data_only(tmp_path: Path, kind: str) -> None:
    folder.check(make_model(tmp_path))
    if kind == "link":
        (tmp_path / "labels.json").symlink_to("/etc/hostname")
    elif kind == "folder link":
        (tmp_path / "more").symlink_to("/etc")
    elif kind == "pipe":
        os.mkfifo(tmp_path / "samples.safetensors")
    elif kind == "deep":
        (tmp_path / "/".join("a" * 20)).mkdir(parents=True)
    else:
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "weights.PT").write_bytes(b"")
    with pytest.raises(ArtifactError, match=kind.removeprefix("folder ")):
        folder.check(tmp_path)


class Bucket:
    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        if Key in ("folder/absent", "folder/"):
            raise RuntimeError("NoSuchKey")
        data = b"x" * (100 if Key.endswith("large") else 3)
        return {"ContentLength": len(data), "Body": io.BytesIO(data)}


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("s3://mine/folder/a", 200),
        ("s3://mine/folder/large", 413),
        ("s3://mine/folder/absent", 422),
        ("s3://mine/other", 400),
        ("s3://mine/folder", 400),
        ("s3://mine-too/folder/a", 400),
        ("s3://mine/folder/../other", 400),
        ("s3://mine/folder/", 422),
        ("S3://mine/folder/a", 400),
    ],
)
def test_only_allowed_objects_are_read(monkeypatch: pytest.MonkeyPatch, uri: str, code: int) -> None:
    monkeypatch.setattr(s3, "client", Bucket)
    limits = Limits(bytes=50, s3=("s3://mine/folder/",))
    if code == 200:
        assert s3.find(uri, "image", limits).read(limits) == b"xxx"
        return
    with pytest.raises(RequestError) as caught:
        s3.find(uri, "image", limits).read(limits)
    assert caught.value.code == code


def test_s3_without_its_package_is_told_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError

    monkeypatch.setattr(s3, "client", missing)
    s3.check(Limits())
    with pytest.raises(ServeError, match="boto3"):
        s3.check(Limits(s3=("s3://mine/",)))


def test_a_script_that_an_endpoint_is_to_run_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_java(environment: Any) -> None:
        raise ServeError("no Java")

    monkeypatch.setattr(supervisor.java, "find", no_java)
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "inference.py")
    monkeypatch.setenv("SAGEMAKER_SUBMIT_DIRECTORY", "s3://bucket/code.tar.gz")
    assert supervisor.main() == 1
    said = capsys.readouterr().err
    assert "ignored: SAGEMAKER_PROGRAM, SAGEMAKER_SUBMIT_DIRECTORY; this image runs its own handler" in said


def test_code_in_a_model_is_named_and_not_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text("raise SystemExit")
    folder.check(tmp_path)
    assert "runs its own handler" in caplog.text
