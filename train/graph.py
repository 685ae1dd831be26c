"""The network as an ONNX graph beside its weights, for endpoints that compute without torch.

The graph holds no weights: its initialisers have the state dict's names and are parts of model.safetensors.
"""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from contract.files import write_atomically
from model import artifact, weights
from model.artifact import GRAPH_FILE, INPUT, OUTPUT, WEIGHTS_FILE, Onnx

log = logging.getLogger("train")

_OPSET: Final = 17  # the first with layer normalisation as one operator
_TYPES: Final = {"F32": "FLOAT", "I64": "INT64"}
_HEADER_LENGTH: Final = 8  # bytes of a safetensors file that say how long its header is


class CannotExport(Exception):
    """This network has no ONNX graph; the text is one sentence without its end."""


def add(folder: Path) -> bool:
    """Write the graph of the saved model beside it, and describe it; returns whether there is one.

    The description comes last, so that a reader never sees a graph of other weights.
    """
    try:
        data = graph(folder)
    except CannotExport as error:
        log.warning(
            "no %s: %s; an endpoint on a CPU will compute with torch, which is slower", GRAPH_FILE, error
        )
        return False
    info, record = artifact.read_info(folder)
    write_atomically(folder / GRAPH_FILE, data, durable=True)
    artifact.write_info(
        folder, dataclasses.replace(info, onnx=Onnx({GRAPH_FILE: artifact.record(data)})), record
    )
    return True


def graph(folder: Path) -> bytes:
    """The graph of the model in `folder`: from float32 [N, 3, S, S] to logits [N, classes], N free.

    Raises:
        CannotExport: torch has no ONNX for a layer, or a package is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise CannotExport("the package onnx is not installed") from error
    # A copy from disk: without the hooks of a debugger, and whatever else a training adds to its network.
    module, info = weights.load(folder)
    side = info.preprocessing.input_size
    try:
        model: Any = onnx.load_from_string(_trace(module, side))
    except Exception as error:  # the exporter raises many kinds
        reason = (str(error) or type(error).__name__).strip().splitlines()[0][:200]
        raise CannotExport(f"torch cannot export {info.architecture} at {side} pixels ({reason})") from error
    _point_to_weights(model, folder / WEIGHTS_FILE)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _trace(module: nn.Module, side: int) -> bytes:
    buffer: Any = io.BytesIO()  # which the older exporter takes, and its types do not say so
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # an operator of its own, which ONNX lacks
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # torch's newer exporter (dynamo=True) takes ten times as long and folds batch norms into values
            # that keep the weights' names. PRESERVE and no folding keep the state dict's values.
            torch.onnx.export(
                module,
                (torch.zeros(2, 3, side, side),),
                buffer,
                dynamo=False,
                export_params=False,
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
                opset_version=_OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "pictures"}, OUTPUT: {0: "pictures"}},
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return bytes(buffer.getvalue())


def _point_to_weights(model: Any, path: Path) -> None:
    """Make what stands for a parameter an initialiser that is a part of the file at `path`."""
    import onnx

    with path.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
        tensors = json.loads(file.read(length))
    graph = model.graph
    # Parameters that are equal are exported once: the others are named as copies of it.
    copies = [node for node in graph.node if node.op_type == "Identity" and node.output[0] in tensors]
    names = [value.name for value in graph.input if value.name != INPUT]
    names += [node.output[0] for node in copies]
    for node in copies:
        graph.node.remove(node)
    del graph.input[1:]
    for name in names:
        begin, end = tensors[name]["data_offsets"]
        tensor = onnx.TensorProto(
            name=name,
            data_type=onnx.TensorProto.DataType.Value(_TYPES[tensors[name]["dtype"]]),
            dims=tensors[name]["shape"],
            data_location=onnx.TensorProto.EXTERNAL,
        )
        place = {"location": path.name, "offset": _HEADER_LENGTH + length + begin, "length": end - begin}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        graph.initializer.append(tensor)
