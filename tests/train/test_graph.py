"""The ONNX graph of a network, computed by OpenVINO with the weights in model.safetensors."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch

from model import architecture, artifact, weights
from model.artifact import GRAPH_FILE, INPUT, OUTPUT, ModelInfo
from model.preprocess import Preprocessing
from train import graph

slow = pytest.mark.slow


def saved(folder: Path, name: str, side: int) -> torch.nn.Module:
    """A model whose batch norms have something to normalise and whose head has something to say."""
    torch.manual_seed(0)
    module = architecture.build(name, 3).train()
    head = module.get_submodule(architecture.head_name(module))
    torch.nn.init.normal_(head.weight, std=0.1)  # type: ignore[arg-type]
    with torch.no_grad():
        for _ in range(2):
            module(torch.randn(4, 3, side, side))
    module.eval().requires_grad_(False)
    weights.save(folder, module, ModelInfo(name, ("a", "b", "c"), Preprocessing.for_size(side)))
    return module


def compiled(folder: Path) -> Any:
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return core.compile_model(core.read_model(folder / GRAPH_FILE), "CPU", options)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet18", 32), ("mobilenet_v3_small", 48), ("shufflenet_v2_x0_5", 64), ("squeezenet1_1", 64),
        pytest.param("resnet50", 64, marks=slow), pytest.param("efficientnet_b0", 64, marks=slow),
        pytest.param("densenet121", 64, marks=slow), pytest.param("regnet_y_400mf", 64, marks=slow),
        pytest.param("convnext_tiny", 64, marks=slow), pytest.param("swin_v2_t", 64, marks=slow),
        pytest.param("vit_b_32", 224, marks=slow), pytest.param("googlenet", 64, marks=slow),
        pytest.param("mnasnet0_5", 64, marks=slow), pytest.param("maxvit_t", 224, marks=slow),
    ],
)  # fmt: skip
def test_openvino_computes_what_torch_computes(tmp_path: Path, name: str, side: int) -> None:
    module = saved(tmp_path, name, side)
    assert graph.add(tmp_path)
    network = compiled(tmp_path)
    for count in (1, 3):
        pictures = torch.randn(count, 3, side, side)
        expected = module(pictures).numpy()
        found = network({INPUT: pictures.numpy()})[OUTPUT]
        assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


def test_the_weights_are_in_one_file_only_under_the_names_of_the_state_dict(tmp_path: Path) -> None:
    module = saved(tmp_path, "resnet18", 32)
    assert graph.add(tmp_path)
    initialisers = onnx.load(tmp_path / GRAPH_FILE, load_external_data=False).graph.initializer
    wanted = {name for name in module.state_dict() if not name.endswith("num_batches_tracked")}
    assert {tensor.name for tensor in initialisers} == wanted
    assert not any(tensor.raw_data or tensor.float_data for tensor in initialisers)
    loaded = onnx.load(tmp_path / GRAPH_FILE).graph.initializer
    for tensor in loaded:
        assert np.array_equal(onnx.numpy_helper.to_array(tensor), module.state_dict()[tensor.name].numpy())


def test_equal_parameters_are_each_their_own(tmp_path: Path) -> None:
    module = architecture.build("resnet18", 2)  # all its norms begin with ones and zeros
    weights.save(tmp_path, module, ModelInfo("resnet18", ("a", "b"), Preprocessing.for_size(32)))
    assert graph.add(tmp_path)
    names = {one.name for one in onnx.load(tmp_path / GRAPH_FILE, load_external_data=False).graph.initializer}
    assert {"layer1.0.bn1.weight", "layer4.1.bn2.weight", "layer4.1.bn2.bias"} <= names


def test_the_description_names_the_graph_and_the_same_model_gives_the_same_graph(tmp_path: Path) -> None:
    saved(tmp_path, "shufflenet_v2_x0_5", 32)
    assert graph.add(tmp_path)
    info, _ = artifact.read_info(tmp_path)
    assert info.onnx
    first = artifact.read_file(tmp_path, GRAPH_FILE, info.onnx.files[GRAPH_FILE])
    assert graph.add(tmp_path)
    assert (tmp_path / GRAPH_FILE).read_bytes() == first


def test_a_network_that_cannot_be_exported_is_reported_and_stays_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, "shufflenet_v2_x0_5", 32)

    def fail(*_: object, **__: object) -> None:
        raise torch.onnx.errors.UnsupportedOperatorError("aten::new", 17, None)

    monkeypatch.setattr(torch.onnx, "export", fail)
    with caplog.at_level(logging.WARNING):
        assert not graph.add(tmp_path)
    (line,) = caplog.messages
    assert "no model.onnx: torch cannot export shufflenet_v2_x0_5 at 32 pixels" in line
    assert not (tmp_path / GRAPH_FILE).exists()
    assert weights.load(tmp_path)[1].onnx is None
