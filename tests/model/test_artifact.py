import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from model import architecture, artifact, weights
from model.artifact import ArtifactError, ModelInfo, Onnx
from model.preprocess import Preprocessing

INFO = ModelInfo(
    "shufflenet_v2_x0_5", ("猫", "dog"), Preprocessing.for_size(64), {"validation:accuracy": 0.5}
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    weights.save(tmp_path / "model", architecture.build(INFO.architecture, 2), INFO)
    return tmp_path / "model"


def test_what_was_saved_is_loaded(saved: Path) -> None:
    torch.manual_seed(3)
    wanted = architecture.build(INFO.architecture, 2).eval()
    module, info = weights.load(saved)
    assert info == INFO
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    inputs = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(module(inputs), wanted(inputs))


def test_two_plain_files_and_no_pickle(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["model.json", "model.safetensors"]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in saved.iterdir())


@pytest.mark.parametrize("name", ["regnet_y_400mf", "googlenet", "mobilenet_v2", "mnasnet0_5"])
def test_other_networks_survive_too(tmp_path: Path, name: str) -> None:
    info = ModelInfo(name, ("a", "b", "c"), Preprocessing())
    weights.save(tmp_path, architecture.build(name, 3), info)
    assert weights.load(tmp_path)[1] == info


def change(key: str, value: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "model.json"
        document = json.loads(path.read_text())
        document[key] = value
        path.write_text(json.dumps(document))

    return apply


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def flip_weights(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def retype(kind: torch.dtype) -> Callable[[Path], None]:
    """Weights of other numbers, with a description that fits them."""

    def apply(folder: Path) -> None:
        tensors = safetensors.torch.load_file(folder / "model.safetensors")
        data = safetensors.torch.save({name: tensor.to(kind) for name, tensor in tensors.items()})
        (folder / "model.safetensors").write_bytes(data)
        described = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        change("weights", described)(folder)

    return apply


PREPROCESSING = INFO.preprocessing.to_json()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), "holds no trained model"),
        (lambda folder: (folder / "model.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "model.json").write_text("[]"), "not an object"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be read"),
        (cut_weights, "damaged or replaced"),
        (flip_weights, "damaged or replaced"),
        (change("schema_version", 2), "schema_version is 2; this program reads 1"),
        (change("architecture", "resnet18"), "does not fit resnet18"),
        (change("architecture", "nonsense"), "architecture is 'nonsense'"),
        (change("classes", ["a"]), "at least two names"),
        (change("classes", ["a", "a"]), "a name twice"),
        (change("classes", ["a", "b", "c"]), "does not fit"),
        (change("classes", ["a\udce9", "b"]), "no valid Unicode"),
        (change("classes", [str(number) for number in range(9999)]), "for each of the 9999 classes"),
        (change("preprocessing", PREPROCESSING | {"mean": [float("inf"), 0, 0]}), "mean is"),
        (change("preprocessing", PREPROCESSING | {"std": [1e-300, 1, 1]}), "std is"),
        (lambda folder: (folder / "model.json").write_text("[" * 100_000), "not valid JSON"),
        (lambda folder: os.truncate(folder / "model.json", 65 * 1024**2), "no description"),
        (retype(torch.float16), "is torch.float16"),
        (retype(torch.complex64), "is torch.complex64"),
        (change("classes", "ab"), "classes is missing or not of type list"),
        (change("preprocessing", {"input_size": 3}), "missing"),
        (change("weights", {}), "bytes is missing"),
        (change("onnx", []), "onnx is not an object"),
        (change("onnx", {"files": {}, "precisions": {}}), "does not name model.onnx"),
        (change("onnx", {"files": {"model.onnx": {"bytes": 1}}, "precisions": {}}), "sha256 is missing"),
        (change("onnx", {"files": {"model.onnx": 1}, "precisions": {}}), "must hold objects"),
    ],
)
def test_a_damaged_model_is_told(saved: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(saved)
    with pytest.raises(ArtifactError, match=message):
        weights.load(saved)


def test_the_description_names_the_graphs_beside_the_weights(saved: Path) -> None:
    info, record = artifact.read_info(saved)
    graph = artifact.record(b"graph")
    described = dataclasses.replace(info, onnx=Onnx({"model.onnx": graph}, {"int8": {"accepted": False}}))
    artifact.write_info(saved, described, record)
    assert artifact.read_info(saved) == (described, record)
    (saved / "model.onnx").write_bytes(b"graph")
    assert artifact.read_file(saved, "model.onnx", graph) == b"graph"
    (saved / "model.onnx").write_bytes(b"grape")
    with pytest.raises(ArtifactError, match="damaged or replaced"):
        artifact.read_file(saved, "model.onnx", graph)


def test_new_weights_are_not_described_with_the_graphs_of_others(saved: Path) -> None:
    info = dataclasses.replace(INFO, onnx=Onnx({"model.onnx": artifact.record(b"graph")}))
    weights.save(saved, architecture.build(INFO.architecture, 2), info)
    assert artifact.read_info(saved)[0].onnx is None
