"""The artifact's tensors as a network of torch, and back."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from contract.files import write_atomically
from model import architecture, artifact
from model.artifact import WEIGHTS_FILE, ArtifactError, ModelInfo


def save(folder: Path, module: nn.Module, info: ModelInfo) -> None:
    """Write weights and description, each atomically, the description last: a reader never sees half a model.

    The graphs of an earlier model are not those of this one, so the description names none.
    """
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in module.state_dict().items()}
    data = safetensors.torch.save(tensors, metadata={"format": "pt"})
    write_atomically(folder / WEIGHTS_FILE, data, durable=True)
    artifact.write_info(folder, dataclasses.replace(info, onnx=None), artifact.record(data))


def load(folder: Path | str, device: str | torch.device = "cpu") -> tuple[nn.Module, ModelInfo]:
    """The network in evaluation mode, without gradients, and its description.

    Raises:
        ArtifactError: missing, damaged, of another schema, or inconsistent files.
    """
    folder = Path(folder)
    info, weights = artifact.read_info(folder)
    data = artifact.read_file(folder, WEIGHTS_FILE, weights)
    try:
        tensors = safetensors.torch.load(data)
        _check_tensors(tensors, len(info.classes))
        # No time is spent on random weights that are replaced at once.
        module = architecture.skeleton(info.architecture, len(info.classes))
        state = OrderedDict(tensors)
        # Versions of the layers, which safetensors does not keep: MNASNet refuses a state dict without.
        setattr(state, "_metadata", getattr(module.state_dict(), "_metadata"))  # noqa: B009, B010
        module.load_state_dict(state, strict=True, assign=True)
    except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"{folder / WEIGHTS_FILE} does not fit {info.architecture}: {str(error).splitlines()[0]}"
        ) from error
    return module.to(device).eval().requires_grad_(False), info


def _check_tensors(tensors: Mapping[str, torch.Tensor], classes: int) -> None:
    """What torch would put up with, or notice only after it has made room for a network of any size."""
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.int64):  # int64: a batch normalisation's counter
            raise ValueError(f"{name!a} is {tensor.dtype}, not torch.float32")
    if not any(tensor.shape[:1] == (classes,) for tensor in tensors.values()):
        raise ValueError(f"no layer has an output for each of the {classes} classes")
