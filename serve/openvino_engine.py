"""The network computed by OpenVINO on a CPU, from the graphs that lie beside the weights.

It is compiled once, in the process that workers are forked from, so that they share its memory. After that
fork one thing works: the synchronous `infer` of what was compiled before it. OpenVINO's threads are not in
the fork, and to compile again, infer asynchronously or let go of a network would wait for them for ever.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

# ruff: noqa: E402 (this has to come before openvino, which else reports some of its use to its makers)
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino
import safetensors
import safetensors.numpy
from openvino.preprocess import PrePostProcessor

from model import artifact
from model.artifact import (
    GRAPH_FILE,
    INFO_FILE,
    INT8_FILE,
    INT8_WEIGHTS_FILE,
    WEIGHTS_FILE,
    ArtifactError,
    ModelInfo,
)
from model.preprocess import Preprocessing
from serve import explain, graph, precision, select
from serve.engine import Heat, Pixels, Probabilities
from serve.errors import ServeError

# What the network computes with: the file it is read from, and OpenVINO's name for the numbers.
_SOURCES: Final = {
    "fp32": (GRAPH_FILE, "f32"),
    "bf16": (GRAPH_FILE, "bf16"),
    "fp16": (GRAPH_FILE, "f16"),
    "int8": (INT8_FILE, "f32"),  # what is not in integers stays in full precision
}
# From the logits back to the last features only these may come, and of the layers with weights only one:
# otherwise the class activation map is not what Grad-CAM finds.
_LINEAR: Final = {
    "Add", "Convert", "FakeQuantize", "MatMul", "Multiply", "Reshape", "Squeeze", "Subtract", "Unsqueeze",
}  # fmt: skip
_POOLS: Final = {"ReduceMean", "AvgPool", "AdaptiveAvgPool"}


class OpenVino:
    """One network, compiled for pictures one by one: on a CPU, batches gain nothing."""

    name = "openvino"

    def __init__(self, precision_name: str, compiled: Any, head: Probabilities | None) -> None:
        self.precision = precision_name
        self.reason = precision_name
        self.about = describe()
        self._head = head
        self._request = compiled.create_infer_request()
        # One tensor for all pictures: to make one for each takes longer than to fill it.
        self._input = np.zeros(tuple(compiled.input(0).shape), dtype=np.uint8)
        self._request.set_input_tensor(openvino.Tensor(self._input, shared_memory=True))
        _ENGINES.add(self)

    def probabilities(self, pictures: Sequence[Pixels]) -> Probabilities:
        logits = np.stack([self._infer(picture).copy() for picture in pictures])
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        result: Probabilities = powers / powers.sum(axis=1, keepdims=True)
        return result

    def heat(self, picture: Pixels, index: int) -> Heat:
        if self._head is None:
            raise explain.CannotExplain(
                "this network does not end in an average of its features and one linear layer; the image "
                "byoc-serve explains others, by Grad-CAM"
            )
        self._infer(picture)
        return explain.class_activation(self._request.get_output_tensor(1).data[0], self._head[index])

    def _infer(self, picture: Pixels) -> Any:
        self._input[0] = picture
        self._request.infer()
        return self._request.get_output_tensor(0).data[0]


_ENGINES: Final[weakref.WeakSet[OpenVino]] = weakref.WeakSet()


def _keep_inherited() -> None:
    """In a forked process: never let go of what the parent compiled, not at the end of Python either."""
    for engine in _ENGINES:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


os.register_at_fork(after_in_child=_keep_inherited)


def describe() -> str:
    """One line for the log."""
    version = openvino.get_version().split("-")[0]
    processor = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    return f"OpenVINO {version}, device cpu: {processor}"


def load(folder: Path, info: ModelInfo, weights: artifact.FileRecord, threads: int, wanted: str) -> OpenVino:
    """Read, compile, choose the precision and warm up.

    Args:
        folder: of the model; `info` and `weights` are what its description says.
        threads: of one forward pass. More workers with one thread each beat one with many.
        wanted: one of settings.PRECISIONS.

    Raises:
        ArtifactError: the files are damaged, do not fit together, or want what no graph may have.
        ServeError: the network answers with NaN.
    """
    assert info.onnx is not None
    # OpenVINO refuses weights behind a link, and here the folder itself may be one.
    folder = folder.resolve()
    classes = len(info.classes)
    # The rest would lie beside the compiled network, once more, until that is chosen.
    heads = {
        name: tensor.copy()
        for name, tensor in read_tensors(folder, weights).items()
        if tensor.ndim == 2 and len(tensor) == classes
    }
    check_files(folder, info.onnx, weights)
    core = openvino.Core()

    def make(name: str) -> OpenVino:
        file, hint = _SOURCES[name]
        model, head = read_model(core, folder / file, info, heads)
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # every worker would take the same core
            "INFERENCE_PRECISION_HINT": hint,
        }
        made = OpenVino(name, core.compile_model(model, "CPU", options), head)
        made.probabilities([np.full(made._input.shape[1:], 128, dtype=np.uint8)] * 2)  # it allocates at first
        return made

    try:
        full = make("fp32")
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{folder / GRAPH_FILE} cannot be used: {select.first_line(error)}") from error
    side = info.preprocessing.input_size
    if not np.isfinite(full.probabilities([np.full((side, side, 3), 128, dtype=np.uint8)])).all():
        raise ServeError(f"the model in {folder} answers with NaN: its training diverged; train it again")
    proved = {
        name: one
        for name, one in info.onnx.precisions.items()
        if name != "int8" or INT8_FILE in info.onnx.files
    }
    candidates, refusal = select.candidates(wanted, proved)
    if not candidates:
        full.reason = refusal or "fp32"
        return full
    try:
        samples = precision.read_samples(folder, side, classes)
    except precision.BadSamples as error:
        full.reason = f"fp32, because {candidates[0]} cannot be checked: {error}"
        return full
    chosen, reason = select.fastest(full, candidates, make, samples, faster=wanted == "auto")
    chosen.reason = reason
    return chosen


def read_tensors(folder: Path, weights: artifact.FileRecord) -> Mapping[str, Any]:
    """The weights, all of them finite numbers."""
    data = artifact.read_file(folder, WEIGHTS_FILE, weights)
    try:
        tensors = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ArtifactError(f"{folder / WEIGHTS_FILE} is damaged: {select.first_line(error)}") from error
    # The compiled network would not show it: an activation turns NaN into 0.
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise ServeError(f"the model in {folder} holds NaN: its training diverged; train it again")
    return dict(tensors)


def check_files(folder: Path, onnx: artifact.Onnx, weights: artifact.FileRecord) -> None:
    """Each must be the file that the description means, and the ONNX graph have weights of this model."""
    for name, record in onnx.files.items():
        if name not in (GRAPH_FILE, INT8_FILE, INT8_WEIGHTS_FILE):
            raise ArtifactError(
                f"{folder / INFO_FILE}: onnx names {name!a}, which this version does not know"
            )
        data = artifact.read_file(folder, name, record)
        if name == GRAPH_FILE:
            try:
                graph.check(data, weights.bytes)
            except graph.BadGraph as error:
                raise ArtifactError(f"{folder / name} cannot be used: {error}") from error
    if (INT8_FILE in onnx.files) != (INT8_WEIGHTS_FILE in onnx.files):
        raise ArtifactError(f"{folder / INFO_FILE}: {INT8_FILE} and {INT8_WEIGHTS_FILE} belong together")


def read_model(
    core: Any, path: Path, info: ModelInfo, heads: Mapping[str, Any]
) -> tuple[Any, Probabilities | None]:
    """The graph for one picture of bytes [1, S, S, 3], and the weights of its class activation map.

    Normalising is a part of it, and where there is such a map the last features are a second output.
    """
    # OpenVINO's own format has its weights in another file, and names none.
    model = core.read_model(path, path.with_name(INT8_WEIGHTS_FILE) if path.name == INT8_FILE else "")
    side, classes = info.preprocessing.input_size, len(info.classes)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ArtifactError(
            f"{path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs, not one"
        )
    model.reshape([1, 3, side, side])
    if list(model.output(0).shape) != [1, classes]:
        raise ArtifactError(
            f"{path} does not fit {INFO_FILE}: its output is {list(model.output(0).shape)} and there are "
            f"{classes} classes"
        )
    features = last_features(model)
    head = head_weights(features, heads, classes) if features is not None else None
    if head is not None:
        model.add_outputs([features])
    return normalising(model, info.preprocessing), head


def normalising(model: Any, preprocessing: Preprocessing) -> Any:
    """The graph with Preprocessing.normalise_array in front: there it takes hardly any time."""
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    mean = [255 * value for value in preprocessing.mean]
    scale = [255 * value for value in preprocessing.std]
    steps.input().preprocess().convert_element_type(openvino.Type.f32).mean(mean).scale(scale)
    return steps.build()


def last_features(model: Any) -> Any | None:
    """What is averaged before the linear layer, an output [1, C, h, w] of a node; None in other networks."""
    varying: set[str] = set()
    for node in model.get_ordered_ops():
        before = [value.get_node().get_friendly_name() for value in node.input_values()]
        kind = node.get_type_name()  # a shape does not vary: there is one picture of one size
        if kind == "Parameter" or (kind != "ShapeOf" and varying.intersection(before)):
            varying.add(node.get_friendly_name())
    layers, node = 0, model.output(0).get_node()
    while True:
        inputs = [value for value in node.input_values() if value.get_node().get_friendly_name() in varying]
        if len(inputs) != 1:
            return None
        if (kind := node.get_type_name()) in _POOLS:
            shape = [int(size) for size in inputs[0].get_shape()]
            return inputs[0] if len(shape) == 4 and np.prod(node.output(0).get_shape()) == shape[1] else None
        layers += kind == "MatMul"
        if layers > 1 or kind not in {*_LINEAR, "Result"}:
            return None
        node = inputs[0].get_node()


def head_weights(features: Any, heads: Mapping[str, Any], classes: int) -> Probabilities | None:
    """[classes, C]: how much each averaged feature speaks for a class; None where that is unclear."""
    channels = int(features.get_shape()[1])
    fitting = [tensor for tensor in heads.values() if tensor.shape == (classes, channels)]
    if len(fitting) == 1:
        return np.array(fitting[0], dtype=np.float32)
    return np.eye(classes, dtype=np.float32) if not fitting and channels == classes else None
