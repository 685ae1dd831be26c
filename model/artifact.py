"""The model on disk: `model.safetensors` (tensors) and `model.json` (everything else). No pickle anywhere.

Beside them may lie `samples.safetensors`: a few pictures and what the network says of them, for whoever wants
to see that it still says so in another place or precision; `model.onnx`, the graph whose weights are those in
`model.safetensors`; and `model.int8.xml` with `model.int8.weights`, the network in 8-bit integers, where that
answers alike.

This file needs no torch; model/weights.py makes a network of the tensors.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import safetensors.numpy

from contract.files import write_atomically
from contract.hyperparameters import ARCHITECTURES
from model.preprocess import Preprocessing

SCHEMA_VERSION: Final = 1
WEIGHTS_FILE: Final = "model.safetensors"
INFO_FILE: Final = "model.json"
SAMPLES_FILE: Final = "samples.safetensors"
GRAPH_FILE: Final = "model.onnx"  # fp32; its initialisers are parts of WEIGHTS_FILE
INT8_FILE: Final = "model.int8.xml"  # OpenVINO's own format, which the next one belongs to
INT8_WEIGHTS_FILE: Final = "model.int8.weights"
INPUT: Final = "input"  # of the graphs: float32 [N, 3, S, S], normalised
OUTPUT: Final = "logits"  # float32 [N, classes]
_MAX_INFO_BYTES: Final = 64 * 1024**2
# The description last, for it is what makes a folder a model. Those in the middle need not be there.
FILES: Final = (WEIGHTS_FILE, GRAPH_FILE, INT8_WEIGHTS_FILE, INT8_FILE, INFO_FILE)

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Probabilities = np.ndarray[Any, np.dtype[np.float32]]


class ArtifactError(ValueError):
    """A model folder that cannot be used; the text names the file and what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class FileRecord:
    """What a file must be, so that nobody takes another one for it."""

    bytes: int
    sha256: str


def record(data: bytes) -> FileRecord:
    """What a file with this content must be."""
    return FileRecord(len(data), hashlib.sha256(data).hexdigest())


@dataclasses.dataclass(frozen=True)
class Onnx:
    """The network as graphs that need no torch.

    Attributes:
        files: by name; GRAPH_FILE always, the two of INT8 where 8-bit integers were accepted.
        precisions: what was measured of "bf16" and "int8": accepted, reason, pictures, agreement,
            agreement_clear, accuracy, accuracy_fp32; fractions, not percent.
    """

    files: Mapping[str, FileRecord]
    precisions: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """The inverse of `to_json`. Raises ValueError naming what is missing or of another type."""
        if not isinstance(raw, dict):
            raise ValueError("onnx is not an object")
        files, precisions = _field(raw, "files", dict), _field(raw, "precisions", dict)
        if not all(isinstance(one, dict) for one in (*files.values(), *precisions.values())):
            raise ValueError("onnx: files and precisions must hold objects")
        if GRAPH_FILE not in files:
            raise ValueError(f"onnx: files does not name {GRAPH_FILE}")
        return cls({name: _record(one) for name, one in files.items()}, precisions)


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What `model.json` says.

    Attributes:
        architecture: one of contract.hyperparameters.ARCHITECTURES.
        classes: names, in the order of the network's outputs.
        preprocessing: what to do to a picture first.
        metrics: of the epoch that was kept, e.g. {"validation:accuracy": 0.97}; fractions, not percent.
        training: how it was made (settings, versions, counts of pictures); free-form, for people.
        onnx: the graphs beside the weights; None where there are none, as in older artifacts.
    """

    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    onnx: Onnx | None = None

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            allowed = ", ".join(ARCHITECTURES)
            raise ValueError(f"architecture is {self.architecture!r}; allowed: {allowed}")
        if len(self.classes) < 2 or not all(isinstance(name, str) and name for name in self.classes):
            raise ValueError("classes must be a list of at least two names")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes has a name twice")
        for name in self.classes:
            if any("\ud800" <= char <= "\udfff" for char in name):  # of a folder's name that is not UTF-8
                raise ValueError(f"the class {name!a} is no valid Unicode; rename it")


def write_info(folder: Path, info: ModelInfo, weights: FileRecord) -> None:
    """Write the description, atomically. It comes after the files that it describes."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "architecture": info.architecture,
        "classes": list(info.classes),
        "preprocessing": info.preprocessing.to_json(),
        "metrics": dict(info.metrics),
        "training": dict(info.training),
        "weights": {"file": WEIGHTS_FILE, **dataclasses.asdict(weights)},
    }
    if info.onnx:
        document["onnx"] = info.onnx.to_json()
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / INFO_FILE, text, durable=True)


def save_samples(folder: Path, pictures: Sequence[Pixels], probabilities: Probabilities) -> None:
    """Write a few pictures beside the model, with what the network says of them in fp32.

    Args:
        pictures: as the network sees them before normalising, each uint8 [S, S, 3]; at least one.
        probabilities: float32 [N, classes], in the order of the pictures.
    """
    tensors = {"pictures": np.stack(pictures), "probabilities": np.ascontiguousarray(probabilities)}
    write_atomically(folder / SAMPLES_FILE, safetensors.numpy.save(tensors), durable=True)


def read_file(folder: Path, name: str, wanted: FileRecord) -> bytes:
    """A file of the artifact, which must be the one that the description means.

    Raises:
        ArtifactError: it is missing, damaged or of another model.
    """
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    if record(data) != wanted:
        raise ArtifactError(f"{path} is not the file that {INFO_FILE} describes: damaged or replaced")
    return data


def read_info(folder: Path) -> tuple[ModelInfo, FileRecord]:
    """The description, and which file the weights must be.

    Raises:
        ArtifactError: missing, damaged, of another schema or inconsistent.
    """
    path = folder / INFO_FILE
    try:
        if path.stat().st_size > _MAX_INFO_BYTES:
            raise ArtifactError(f"{path} is larger than {_MAX_INFO_BYTES} bytes; that is no description")
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except ArtifactError:
        raise
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist: {folder} holds no trained model") from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not valid JSON: {error}") from error
    try:
        if not isinstance(raw, dict):
            raise ValueError("not an object")
        if raw.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version is {raw.get('schema_version')!r}; this program reads {SCHEMA_VERSION}"
            )
        info = ModelInfo(
            architecture=_field(raw, "architecture", str),
            classes=tuple(_field(raw, "classes", list)),
            preprocessing=Preprocessing.from_json(_field(raw, "preprocessing", dict)),
            metrics=_field(raw, "metrics", dict),
            training=_field(raw, "training", dict),
            onnx=Onnx.from_json(raw["onnx"]) if raw.get("onnx") is not None else None,
        )
        weights = _record(_field(raw, "weights", dict))
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return info, weights


def _record(raw: Mapping[str, Any]) -> FileRecord:
    return FileRecord(_field(raw, "bytes", int), _field(raw, "sha256", str))


def _field(raw: Mapping[str, Any], name: str, kind: type) -> Any:
    if not isinstance(raw.get(name), kind):
        raise ValueError(f"{name} is missing or not of type {kind.__name__}")
    return raw[name]
