"""ONNX graphs beside the weights of a test's model, as the trainer leaves them."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import struct
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch

from model import architecture, artifact

BF16 = {"bf16": {"accepted": True, "reason": "a test says so"}}


def add_graph(folder: Path, precisions: dict[str, Any] | None = None) -> Path:
    """Write model.onnx beside the weights in `folder`, and name it in model.json.

    `precisions`: what training has proved.
    """
    info, _ = artifact.read_info(folder)
    names = (info.architecture, len(info.classes), info.preprocessing.input_size)
    graph = point(onnx.load_model_from_string(exported(*names)), folder)
    write(folder, graph, precisions or {})
    return folder


def write(folder: Path, graph: Any, precisions: dict[str, Any], name: str = artifact.GRAPH_FILE) -> None:
    """Put a graph into the folder and into its description."""
    data = graph.SerializeToString()
    (folder / name).write_bytes(data)
    info, record = artifact.read_info(folder)
    files = dict(info.onnx.files) if info.onnx else {}
    described = artifact.Onnx({**files, name: artifact.record(data)}, precisions)
    artifact.write_info(folder, dataclasses.replace(info, onnx=described), record)


@functools.cache
def exported(arch: str, classes: int, side: int) -> bytes:
    """The graph without weights; the trainer's own exporter takes longer than most tests."""
    module = architecture.build(arch, classes).eval()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data.uniform_(0.5, 1.5)  # of equal tensors the exporter keeps one
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(1, 3, side, side),),
            stream,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # else batch normalisation is folded
            do_constant_folding=False,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}},
        )
    graph = onnx.load_model_from_string(stream.getvalue())
    for tensor in graph.graph.initializer:
        tensor.ClearField("raw_data")
    data: bytes = graph.SerializeToString()
    return data


def point(graph: Any, folder: Path) -> Any:
    """Let the initialisers be parts of model.safetensors."""
    data = (folder / artifact.WEIGHTS_FILE).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    parts = json.loads(data[8 : 8 + length])
    for tensor in graph.graph.initializer:
        first, last = parts[tensor.name]["data_offsets"]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        place = {"location": artifact.WEIGHTS_FILE, "offset": 8 + length + first, "length": last - first}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
    return graph
