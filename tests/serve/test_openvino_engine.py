"""OpenVINO beside torch: the same answers, the same explanations, and files that are not to be trusted."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from model import artifact, weights
from model.artifact import ArtifactError
from serve import classifier, openvino_engine, select
from serve.classifier import Classifier
from serve.errors import ServeError
from serve.explain import CannotExplain
from serve.torch_engine import Torch

from . import graphs
from .conftest import ROOT, Server, encode, exit_code_in_a_fork, make_model, picture


def pixels(loaded: Classifier, count: int = 3) -> list[Any]:
    return [loaded.preprocessing.to_uint8(picture(seed)) for seed in range(count)]


def by_torch(folder: Path) -> Torch:
    module, info = weights.load(folder)
    return Torch(module, torch.device("cpu"), info.preprocessing)


def test_fp32_answers_as_the_trainer_computes(model_dir: Path) -> None:
    loaded = Classifier.load(model_dir, "cpu", numbers="fp32")
    assert (loaded.model["engine"], loaded.model["precision"]) == ("openvino", "fp32")
    pictures = pixels(loaded)
    expected = by_torch(model_dir).probabilities(pictures)
    np.testing.assert_allclose(loaded.probabilities(pictures), expected, atol=1e-4)
    assert expected.std(axis=0).max() > 0.001


def test_an_artifact_without_a_graph_is_computed_by_torch(tmp_path: Path) -> None:
    loaded = Classifier.load(make_model(tmp_path, size=32, graph=False), "cpu")
    assert loaded.model["engine"] == "torch"


def test_without_torch_an_artifact_without_a_graph_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path, size=32, graph=False)
    monkeypatch.setattr(classifier, "has", lambda package: package == "openvino")
    with pytest.raises(ServeError, match=r"has no model\.onnx.* byoc-serve,"):
        Classifier.load(tmp_path, "cpu")


def test_without_torch_a_gpu_is_refused_in_a_sentence(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "has", lambda package: package == "openvino")
    with pytest.raises(ServeError, match=r"BYOC_DEVICE=cuda asks for a GPU.* byoc-serve"):
        Classifier.load(model_dir, "cuda")
    monkeypatch.setattr(classifier.settings, "visible_gpus", lambda: 1)
    with pytest.raises(ServeError, match="shows a GPU"):
        Classifier.load(model_dir)
    assert Classifier.load(model_dir, "cpu").model["engine"] == "openvino"


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "squeezenet1_1", "efficientnet_b0"]
)
def test_the_class_activation_map_is_the_gradient_of_the_class(tmp_path: Path, name: str) -> None:
    loaded = Classifier.load(make_model(tmp_path, name, 96), "cpu", numbers="fp32")
    [one] = pixels(loaded, 1)
    torchs = by_torch(tmp_path)
    index, expected = next(
        (index, heat) for index in range(5) if (heat := torchs.heat(one, index)).max() == 1
    )
    found = loaded.engine.heat(one, index)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_network_with_more_than_one_linear_layer_is_explained_by_torch_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Classifier.load(make_model(tmp_path, "mobilenet_v3_small", 64), "cpu")
    [one] = pixels(loaded, 1)
    np.testing.assert_array_equal(loaded._torch.heat(one, 1), by_torch(tmp_path).heat(one, 1))
    assert loaded.explain(one, 1)["class"] == "dandelion"
    monkeypatch.setattr(classifier, "has", lambda package: package == "openvino")
    with pytest.raises(CannotExplain, match="byoc-serve"):
        loaded.explain(one, 1)


def test_a_forked_worker_computes_with_what_was_compiled_before(model_dir: Path) -> None:
    loaded = Classifier.load(model_dir, "cpu", numbers="fp32")
    pictures = pixels(loaded)
    expected = loaded.probabilities(pictures)

    def compute() -> None:
        assert np.array_equal(loaded.probabilities(pictures), expected)
        assert loaded.engine.heat(pictures[0], 0).max() <= 1

    assert exit_code_in_a_fork(compute) == 0


def first_tensor(graph: Any) -> Any:
    return next(tensor for tensor in graph.graph.initializer if tensor.dims)


def elsewhere(graph: Any) -> None:
    first_tensor(graph).external_data[0].value = "../../etc/passwd"


def memory_address(graph: Any) -> None:
    first_tensor(graph).external_data[0].value = "*/_ORT_MEM_ADDR_/*"


def beyond_the_end(graph: Any) -> None:
    first_tensor(graph).external_data[1].value = str(10**9)


def too_long(graph: Any) -> None:
    first_tensor(graph).external_data[2].value = "8"


def twice(graph: Any) -> None:
    first_tensor(graph).external_data.add(key="location", value="/etc/passwd")


def in_a_node(graph: Any) -> None:
    attribute = onnx.helper.make_attribute("value", onnx.helper.make_tensor("x", 1, [1], [0.0]))
    attribute.t.ClearField("float_data")
    attribute.t.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "/etc/passwd"), ("offset", "0"), ("length", "4")):
        attribute.t.external_data.add(key=key, value=value)
    graph.graph.node.add(op_type="Constant", output=["x"]).attribute.append(attribute)


def two_outputs(graph: Any) -> None:
    graph.graph.output.add().CopyFrom(graph.graph.output[0])
    graph.graph.output[1].name = graph.graph.node[0].output[0]


def no_graph(graph: Any) -> None:
    graph.ClearField("graph")


def no_such_operation(graph: Any) -> None:
    graph.graph.node[0].op_type = "Nonsense"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (elsewhere, "names weights in '../../etc/passwd'; only model.safetensors"),
        (memory_address, "only model.safetensors is read"),
        (beyond_the_end, "beyond the end"),
        (too_long, "does not fit their shape"),
        (twice, "one location"),
        (in_a_node, "names weights in '/etc/passwd'"),
        (two_outputs, "2 outputs"),
        (no_such_operation, "cannot be used: Model wasn't fully converted"),
        (no_graph, "not ONNX"),
    ],
)
def test_a_graph_that_wants_more_than_its_weights_is_refused(
    tmp_path: Path, change: Callable[[Any], None], says: str
) -> None:
    make_model(tmp_path, size=32)
    graph = onnx.load_model_from_string((tmp_path / artifact.GRAPH_FILE).read_bytes())
    change(graph)
    graphs.write(tmp_path, graph, {})
    with pytest.raises(ArtifactError, match=says) as caught:
        Classifier.load(tmp_path, "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", ["other bytes", "absent", "other classes", "link", "other weights"])
def test_a_graph_that_is_not_the_described_one_is_refused(tmp_path: Path, fault: str) -> None:
    path = make_model(tmp_path / "model", size=32) / artifact.GRAPH_FILE
    if fault == "other bytes":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    elif fault == "absent":
        path.unlink()
    elif fault == "other classes":
        described = json.loads((path.parent / artifact.INFO_FILE).read_text())
        described["classes"].append("one more")
        (path.parent / artifact.INFO_FILE).write_text(json.dumps(described))
    elif fault == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        other = make_model(tmp_path / "other", "resnet34", 32)
        (path.parent / artifact.WEIGHTS_FILE).write_bytes((other / artifact.WEIGHTS_FILE).read_bytes())
    with pytest.raises(ArtifactError):
        Classifier.load(path.parent, "cpu")


def test_a_folder_behind_a_link_is_served(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model_dir)
    assert Classifier.load(tmp_path / "link", "cpu").model["engine"] == "openvino"


def test_normalising_in_the_graph_is_the_preprocessing_of_training(model_dir: Path) -> None:
    module, info = weights.load(model_dir)
    record = artifact.read_info(model_dir)[1]
    engine = openvino_engine.load(model_dir, info, record, 1, "fp32")
    extremes = [np.full((64, 64, 3), value, dtype=np.uint8) for value in (0, 255)]
    with torch.inference_mode():
        inputs = torch.from_numpy(info.preprocessing.to_input(np.stack(extremes)))
        expected = module(inputs).softmax(1).numpy()
    np.testing.assert_allclose(engine.probabilities(extremes), expected, atol=1e-5)


@pytest.mark.slow
def test_bf16_that_training_has_proved_is_taken_where_it_is_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path, size=64, graph=False)
    graphs.add_graph(tmp_path, graphs.BF16)
    monkeypatch.setattr(select, "timed", timed_as({"fp32": 3.0, "bf16": 1.0}))
    loaded = Classifier.load(tmp_path, "cpu")
    assert loaded.model["precision"] == "bf16"
    assert "3.0 times the speed of fp32" in loaded.engine.reason
    pictures = pixels(loaded)
    np.testing.assert_allclose(
        loaded.probabilities(pictures), by_torch(tmp_path).probabilities(pictures), atol=0.03
    )
    monkeypatch.setattr(select, "timed", timed_as({"fp32": 1.0, "bf16": 3.0}))
    slow = Classifier.load(tmp_path, "cpu")
    assert slow.model["precision"] == "fp32"
    assert "not faster here" in slow.engine.reason
    assert Classifier.load(tmp_path, "cpu", numbers="bf16").model["precision"] == "bf16"  # asked for by name


def timed_as(seconds: dict[str, float]) -> Callable[..., Any]:
    """`select.timed` with a clock that the machine's load does not move."""
    return lambda engine, pictures: (engine.probabilities(pictures), seconds[engine.precision])


@pytest.fixture(scope="module")
def with_int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has all precisions."""
    folder = make_model(tmp_path_factory.mktemp("int8"), size=64, graph=False)
    graphs.add_graph(folder, graphs.BF16)
    command = [sys.executable, "-m", "bench.quantise", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return folder


@pytest.mark.slow
def test_8_bit_integers_are_served_and_explained(with_int8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "timed", timed_as({"fp32": 3.0, "bf16": 2.0, "int8": 1.0}))
    loaded = Classifier.load(with_int8, "cpu")
    assert loaded.model["precision"] == "int8"
    pictures = pixels(loaded)
    torchs = by_torch(with_int8)
    expected = torchs.probabilities(pictures)
    np.testing.assert_allclose(loaded.probabilities(pictures), expected, atol=0.03)
    index = int(expected[0].argmax())
    np.testing.assert_allclose(
        loaded.engine.heat(pictures[0], index), torchs.heat(pictures[0], index), atol=0.2
    )


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["other weights", "one of two", "not a graph"])
def test_8_bit_integers_that_are_not_the_described_ones_are_refused(
    with_int8: Path, tmp_path: Path, fault: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(with_int8, folder)
    described = json.loads((folder / artifact.INFO_FILE).read_text())
    if fault == "other weights":
        (folder / artifact.INT8_WEIGHTS_FILE).write_bytes(b"x")
    elif fault == "one of two":
        del described["onnx"]["files"][artifact.INT8_WEIGHTS_FILE]
    else:
        (folder / artifact.INT8_FILE).write_text("<net")
        record = artifact.record(b"<net")
        described["onnx"]["files"][artifact.INT8_FILE] = dataclasses.asdict(record)
    (folder / artifact.INFO_FILE).write_text(json.dumps(described))
    if fault == "not a graph":  # as it was packed: fp32 is there, and says why
        assert "int8 does not run here" in Classifier.load(folder, "cpu").engine.reason
    else:
        with pytest.raises(ArtifactError, match=r"model\.int8"):
            Classifier.load(folder, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["AVX2", "SSE41"])
def test_a_lesser_processor_serves_what_it_computes_rightly(with_int8: Path, processor: str) -> None:
    code = """
import json, sys
from pathlib import Path
import numpy as np
from serve.classifier import Classifier
folder = Path(sys.argv[1])
pictures = [np.full((64, 64, 3), value, dtype=np.uint8) for value in (0, 90, 255)]
chosen, full = (Classifier.load(folder, "cpu", numbers=name) for name in ("auto", "fp32"))
shift = np.abs(chosen.probabilities(pictures) - full.probabilities(pictures)).max()
print(json.dumps([chosen.model["precision"], float(shift)]))
"""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": processor}
    command = [sys.executable, "-c", code, str(with_int8)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, timeout=300)
    precision, shift = json.loads(done.stdout.splitlines()[-1])
    assert precision in ("fp32", "bf16", "int8")
    assert shift < 0.05


@pytest.mark.slow
def test_a_server_with_two_threads_a_worker_answers(start: Callable[..., Server]) -> None:
    server = start(BYOC_THREADS="2", BYOC_WORKERS="1")
    server.wait_until_healthy()
    assert [server.invoke(encode(picture(seed))).status for seed in range(4)] == [200] * 4
