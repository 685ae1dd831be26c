"""A look at an ONNX file before OpenVINO reads it: the file came with a model, and nothing in it is trusted.

A graph may name other files as the place of its weights. OpenVINO reads whatever they are, and takes one name
("*/_ORT_MEM_ADDR_/*") for an address in this process's memory. Here the weights of a graph are in the graph
itself or in model.safetensors, between its first and its last byte.

The format is protobuf's (https://protobuf.dev/programming-guides/encoding/) with the fields of onnx.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from model.artifact import WEIGHTS_FILE

# Message → field → what message is inside: every way that leads from a model to a tensor.
_GRAPH: Final = 7
_INSIDE: Final = {
    "model": {_GRAPH: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
}
_DEEPEST: Final = 16
# TensorProto: fields, and bytes of a number by data_type (float, uint8, int8, int32, int64, float16).
_DIMS, _TYPE, _EXTERNAL, _LOCATION = 1, 2, 13, 14
_SIZES: Final = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 10: 2}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class BadGraph(ValueError):
    """The file is not ONNX, or its weights are where they must not be; the text says why."""


def check(data: bytes, weights_bytes: int) -> None:
    """Raise BadGraph unless every tensor is inside the file or inside the weights file.

    Args:
        data: an ONNX file.
        weights_bytes: the size of model.safetensors.
    """
    try:
        # OpenVINO would try each other format that it knows, and some of them name files of their own.
        if [field for field, _ in _fields(memoryview(data)) if field == _GRAPH] != [_GRAPH]:
            raise BadGraph("it is not ONNX")
        _walk(memoryview(data), "model", 0, weights_bytes)
    except (IndexError, UnicodeDecodeError) as error:
        raise BadGraph("it is cut off or not ONNX") from error


def _walk(data: memoryview, message: str, depth: int, weights_bytes: int) -> None:
    if depth > _DEEPEST:
        raise BadGraph(f"it holds graphs more than {_DEEPEST} deep")
    if message == "tensor":
        _check_tensor(data, weights_bytes)
        return
    for field, value in _fields(data):
        inside = _INSIDE[message].get(field)
        if inside is not None:
            if not isinstance(value, memoryview):
                raise BadGraph("it is not ONNX")
            _walk(value, inside, depth + 1, weights_bytes)


def _check_tensor(data: memoryview, weights_bytes: int) -> None:
    dims: list[int] = []
    kind, location = 0, 0
    named: list[tuple[str, str]] = []
    for field, value in _fields(data):
        if field == _DIMS:
            dims += [value] if isinstance(value, int) else list(_packed(value))
        elif field == _TYPE and isinstance(value, int):
            kind = value
        elif field == _LOCATION and isinstance(value, int):
            location = value
        elif field == _EXTERNAL and isinstance(value, memoryview):
            named.append(_entry(value))
    if not named and not location:
        return
    external = dict(named)
    if len(external) != len(named) or set(external) != {"location", "offset", "length"}:
        raise BadGraph("weights outside it must have one location, one offset and one length")
    if external["location"] != WEIGHTS_FILE:
        raise BadGraph(f"it names weights in {external['location']!a}; only {WEIGHTS_FILE} is read")
    offset, length = (_number(external[name]) for name in ("offset", "length"))
    if offset + length > weights_bytes:
        raise BadGraph(f"it names weights beyond the end of {WEIGHTS_FILE}")
    if kind not in _SIZES or math.prod(dims) * _SIZES[kind] != length:
        raise BadGraph("the length of some weights does not fit their shape")


def _entry(data: memoryview) -> tuple[str, str]:
    """A StringStringEntryProto: key and value."""
    fields = [(field, value) for field, value in _fields(data) if field in (1, 2)]
    texts = {field: bytes(value).decode() for field, value in fields if isinstance(value, memoryview)}
    if len(fields) != 2 or set(texts) != {1, 2}:
        raise BadGraph("it names weights in a way that cannot be read")
    return texts[1], texts[2]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise BadGraph(f"it names weights at {text[:40]!a}, which is not a number")
    return int(text)


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message; the bytes of fixed-size numbers are skipped."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield field, value
        elif wire == _BYTES:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise BadGraph("it is cut off or not ONNX")
            yield field, data[at : at + length]
            at += length
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise BadGraph("it is not ONNX")


def _packed(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise BadGraph("it is not ONNX")
