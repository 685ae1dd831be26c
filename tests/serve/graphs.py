"""ONNX graphs beside the weights of a test's model, as the trainer leaves them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import onnx

from model import artifact
from train import graph

BF16 = {"bf16": {"accepted": True, "reason": "a test says so"}}


def add_graph(folder: Path, precisions: dict[str, Any] | None = None) -> Path:
    """Write model.onnx beside the weights in `folder`, and name it in model.json.

    `precisions`: what training has proved.
    """
    info, _ = artifact.read_info(folder)
    # A graph holds names and places, not values: one does for all models of a kind.
    kind = (info.architecture, len(info.classes), info.preprocessing.input_size)
    if kind not in _MADE:
        _MADE[kind] = graph.graph(folder)
    write(folder, onnx.load_model_from_string(_MADE[kind]), precisions or {})
    return folder


_MADE: dict[tuple[str, int, int], bytes] = {}


def write(folder: Path, graph: Any, precisions: dict[str, Any]) -> None:
    """Put a graph into the folder and into its description."""
    data = graph.SerializeToString()
    (folder / artifact.GRAPH_FILE).write_bytes(data)
    info, record = artifact.read_info(folder)
    described = artifact.Onnx({artifact.GRAPH_FILE: artifact.record(data)}, precisions)
    artifact.write_info(folder, dataclasses.replace(info, onnx=described), record)
