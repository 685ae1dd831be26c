"""The model on disk: `model.safetensors` (tensors) and `model.json` (everything else). No pickle anywhere.

Beside them may lie `samples.safetensors`: a few pictures and what the network says of them, for whoever wants
to see that it still says so in another place or precision.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn

from contract.files import write_atomically
from model import architecture
from model.preprocess import Preprocessing

SCHEMA_VERSION: Final = 1
WEIGHTS_FILE: Final = "model.safetensors"
INFO_FILE: Final = "model.json"
SAMPLES_FILE: Final = "samples.safetensors"
_MAX_INFO_BYTES: Final = 64 * 1024**2
FILES: Final = (WEIGHTS_FILE, INFO_FILE)  # the description last, for it is what makes a folder a model

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Probabilities = np.ndarray[Any, np.dtype[np.float32]]


class ArtifactError(ValueError):
    """A model folder that cannot be used; the text names the file and what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What `model.json` says.

    Attributes:
        architecture: one of architecture.ARCHITECTURES.
        classes: names, in the order of the network's outputs.
        preprocessing: what to do to a picture first.
        metrics: of the epoch that was kept, e.g. {"validation:accuracy": 0.97}; fractions, not percent.
        training: how it was made (settings, versions, counts of pictures); free-form, for people.
    """

    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in architecture.ARCHITECTURES:
            allowed = ", ".join(architecture.ARCHITECTURES)
            raise ValueError(f"architecture is {self.architecture!r}; allowed: {allowed}")
        if len(self.classes) < 2 or not all(isinstance(name, str) and name for name in self.classes):
            raise ValueError("classes must be a list of at least two names")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes has a name twice")
        for name in self.classes:
            if any("\ud800" <= char <= "\udfff" for char in name):  # of a folder's name that is not UTF-8
                raise ValueError(f"the class {name!a} is no valid Unicode; rename it")


def save(folder: Path, module: nn.Module, info: ModelInfo) -> None:
    """Write both files, each atomically, the description last: a reader never sees half a model."""
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in module.state_dict().items()}
    data = safetensors.torch.save(tensors, metadata={"format": "pt"})
    document = {
        "schema_version": SCHEMA_VERSION,
        "architecture": info.architecture,
        "classes": list(info.classes),
        "preprocessing": info.preprocessing.to_json(),
        "metrics": dict(info.metrics),
        "training": dict(info.training),
        "weights": {"file": WEIGHTS_FILE, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
    }
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / WEIGHTS_FILE, data, durable=True)
    write_atomically(folder / INFO_FILE, text, durable=True)


def save_samples(folder: Path, pictures: Sequence[Pixels], probabilities: Probabilities) -> None:
    """Write a few pictures beside the model, with what the network says of them in fp32.

    Args:
        pictures: as the network sees them before normalising, each uint8 [S, S, 3]; at least one.
        probabilities: float32 [N, classes], in the order of the pictures.
    """
    tensors = {"pictures": np.stack(pictures), "probabilities": np.ascontiguousarray(probabilities)}
    write_atomically(folder / SAMPLES_FILE, safetensors.numpy.save(tensors), durable=True)


def load(folder: Path | str, device: str | torch.device = "cpu") -> tuple[nn.Module, ModelInfo]:
    """The network in evaluation mode, without gradients, and its description.

    Raises:
        ArtifactError: missing, damaged, of another schema, or inconsistent files.
    """
    folder = Path(folder)
    info, weights = _read_info(folder)
    path = folder / WEIGHTS_FILE
    try:
        data = path.read_bytes()
        if len(data) != weights["bytes"] or hashlib.sha256(data).hexdigest() != weights["sha256"]:
            raise ArtifactError(f"{path} is not the file that {INFO_FILE} describes: damaged or replaced")
        tensors = safetensors.torch.load(data)
        _check_tensors(tensors, len(info.classes))
        # No time is spent on random weights that are replaced at once.
        module = architecture.skeleton(info.architecture, len(info.classes))
        module.load_state_dict(tensors, strict=True, assign=True)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(
            f"{path} does not fit {info.architecture}: {str(error).splitlines()[0]}"
        ) from error
    return module.to(device).eval().requires_grad_(False), info


def _check_tensors(tensors: Mapping[str, torch.Tensor], classes: int) -> None:
    """What torch would put up with, or notice only after it has made room for a network of any size."""
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.int64):  # int64: a batch normalisation's counter
            raise ValueError(f"{name!a} is {tensor.dtype}, not torch.float32")
    if not any(tensor.shape[:1] == (classes,) for tensor in tensors.values()):
        raise ValueError(f"no layer has an output for each of the {classes} classes")


def _read_info(folder: Path) -> tuple[ModelInfo, Mapping[str, Any]]:
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
        )
        weights: Mapping[str, Any] = _field(raw, "weights", dict)
        _field(weights, "bytes", int)
        _field(weights, "sha256", str)
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return info, weights


def _field(raw: Mapping[str, Any], name: str, kind: type) -> Any:
    if not isinstance(raw.get(name), kind):
        raise ValueError(f"{name} is missing or not of type {kind.__name__}")
    return raw[name]
