"""The network computed by torch: on a GPU, and on a CPU where the model has no graph for OpenVINO."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np

from model import quick

# ruff: noqa: E402 (this has to come before torch)
quick.import_torchvision()

import torch
from torch import nn

from model import device, weights
from model.preprocess import Preprocessing
from serve import precision
from serve.engine import Heat, Pixels, Probabilities
from serve.errors import ServeError
from serve.gradcam import grad_cam

TYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Torch:
    """One network on one device, its weights in the order that convolutions prefer."""

    name = "torch"

    def __init__(
        self, module: nn.Module, where: torch.device, preprocessing: Preprocessing, name: str = "fp32"
    ) -> None:
        self.precision = self.reason = name
        self.about = device.describe(device.probe(), where.type)
        self._device, self._preprocessing, self._kind = where, preprocessing, TYPES[name]
        own = module if name == "fp32" else copy.deepcopy(module).to(self._kind)
        self._forward: nn.Module = own.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def probabilities(self, pictures: Sequence[Pixels]) -> Probabilities:
        with torch.inference_mode():
            logits = self._forward(self._input(pictures))
            probabilities: Probabilities = logits.float().softmax(dim=1).cpu().numpy()
        return probabilities

    def heat(self, picture: Pixels, index: int) -> Heat:
        return grad_cam(self._forward, self._input([picture]), index)

    def _input(self, pictures: Sequence[Pixels]) -> torch.Tensor:
        stacked = np.stack(pictures)  # [N, H, W, 3]: permuted, it is channels-last already
        if self._device.type == "cpu":
            batch = torch.from_numpy(self._preprocessing.normalise_array(stacked))
            return batch.permute(0, 3, 1, 2).to(self._kind)
        # From pinned memory the copy does not wait for the GPU.
        batch = torch.from_numpy(stacked).pin_memory().to(self._device, non_blocking=True)
        return self._preprocessing.normalise(batch.permute(0, 3, 1, 2)).to(self._kind)

    def warm_up(self, path: Path) -> None:
        """The first calls choose kernels and allocate; a forked worker inherits that."""
        side = self._preprocessing.input_size
        picture = np.full((side, side, 3), 128, dtype=np.uint8)
        for count in (1, 1) if self._device.type == "cpu" else (1, 8, 8):
            if not np.isfinite(self.probabilities([picture] * count)).all():
                raise ServeError(
                    f"the model in {path} answers with NaN: its training diverged; train it again"
                )


def place(wanted: str) -> Literal["cpu", "cuda"]:
    """The device for auto, cpu or cuda. Raises ServeError where a GPU cannot be used."""
    try:
        return device.choose(device.probe(), cast("Literal['auto', 'cpu', 'cuda']", wanted))
    except device.DeviceError as error:
        raise ServeError(str(error)) from error


def describe(wanted: str) -> str:
    """One line for the log."""
    return device.describe(device.probe(), place(wanted))


def load(path: Path, wanted: str, gpu: int | None, threads: int, numbers: str) -> Torch:
    """Read, choose the precision and warm up; the arguments and errors are those of Classifier.load."""
    torch.set_num_threads(threads)
    kind = place(wanted) if wanted != "cpu" else "cpu"
    where = torch.device(kind, gpu or 0) if kind == "cuda" else torch.device("cpu")
    with quick.skip_initialisation():
        module, info = weights.load(path, where)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in module.state_dict().values()):
        raise ServeError(f"the model in {path} holds NaN: its training diverged; train it again")
    full = Torch(module, where, info.preprocessing)
    full.warm_up(path)
    capability = torch.cuda.get_device_capability(where) if kind == "cuda" else None
    name = precision.candidate(numbers, kind, capability)
    full.reason = "fp32, because int8 is OpenVINO's, on a CPU" if numbers == "int8" else "fp32"
    if name == "fp32":
        return full
    try:
        samples = precision.read_samples(path, info.preprocessing.input_size, len(info.classes))
    except precision.BadSamples as error:
        full.reason = f"fp32, because {name} cannot be checked: {error}"
        return full
    reduced = Torch(module, where, info.preprocessing, name)
    verdict = precision.compare(full.probabilities, reduced.probabilities, samples)
    if not verdict.passed:
        full.reason = f"fp32, because {name} was checked: {verdict.reason}"
        return full
    reduced.reason = f"{name} ({verdict.reason})"
    return reduced


def rehearse() -> None:
    """What loading a model does, once: workers are forked from here and share what it needs."""
    from model import architecture

    network = architecture.build("resnet18", 2).eval().requires_grad_(False)
    Torch(network, torch.device("cpu"), Preprocessing.for_size(64)).probabilities(
        [np.zeros((64, 64, 3), dtype=np.uint8)]
    )
