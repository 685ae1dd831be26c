"""The model in memory: pictures in, probabilities out."""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import nn

from model import artifact, device, quick, weights
from model.preprocess import Preprocessing
from serve import explain, folder, precision
from serve.errors import ServeError
from serve.frozen import channels_last, freeze

log = logging.getLogger(__name__)

# The most pictures in one forward pass: bounds a worker's memory.
_CHUNK: Final = 32

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Probabilities = np.ndarray[Any, np.dtype[np.float32]]


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """`model` is what an answer says about the model; `version` in it tells two artifacts apart.

    `kind` is the type of number that the network computes with, `precision` a sentence about it for the log.
    """

    forward: nn.Module
    device: torch.device
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    model: dict[str, Any]
    kind: torch.dtype = torch.float32
    precision: str = "fp32"

    @classmethod
    def load(
        cls,
        path: Path,
        wanted: Literal["auto", "cpu", "cuda"] = "auto",
        gpu: int | None = None,
        threads: int = 1,
        numbers: str = "auto",
    ) -> Classifier:
        """Read, freeze and warm up.

        Args:
            path: the model's folder.
            gpu: index of the GPU, where one is used.
            threads: of the forward pass. More workers with one thread each beat one with many.
            numbers: one of precision.NAMES.

        Raises:
            model.artifact.ArtifactError, model.device.DeviceError, ServeError: with a sentence for the log.
        """
        torch.set_num_threads(threads)
        folder.check(path)
        kind = device.choose(device.probe(), wanted) if wanted != "cpu" else "cpu"
        place = torch.device(kind, gpu or 0) if kind == "cuda" else torch.device("cpu")
        with quick.skip_initialisation():
            module, info = weights.load(path, place)
        # The frozen network would not show it: oneDNN's activation makes 0 of what is no number.
        if not all(bool(torch.isfinite(tensor).all()) for tensor in module.state_dict().values()):
            raise ServeError(f"the model in {path} holds NaN: its training diverged; train it again")
        version = hashlib.sha256((path / artifact.INFO_FILE).read_bytes()).hexdigest()[:12]
        described = {"architecture": info.architecture, "classes": len(info.classes), "version": version}

        def make(number: torch.dtype) -> Classifier:
            ready = prepare(module, place, number, info.preprocessing.input_size)
            return cls(ready, place, info.classes, info.preprocessing, described, number)

        full = make(torch.float32)
        full._warm_up(path)
        capability = torch.cuda.get_device_capability(place) if kind == "cuda" else None
        name = precision.candidate(numbers, kind, capability)
        if name == "fp32":
            return full
        try:
            samples = precision.read_samples(path, info.preprocessing.input_size, len(info.classes))
        except precision.BadSamples as error:
            return dataclasses.replace(full, precision=f"fp32, because {name} cannot be checked: {error}")
        reduced = make(precision.TYPES[name])
        verdict = precision.compare(full.probabilities, reduced.probabilities, samples)
        if not verdict.passed:
            return dataclasses.replace(full, precision=f"fp32, because {name} was checked: {verdict.reason}")
        return dataclasses.replace(reduced, precision=f"{name} ({verdict.reason})")

    def probabilities(self, pictures: Sequence[Pixels]) -> Probabilities:
        """Class probabilities [N, classes] of N pictures, each [input_size, input_size, 3] bytes."""
        chunks = [self._chunk(pictures[first : first + _CHUNK]) for first in range(0, len(pictures), _CHUNK)]
        return np.concatenate(chunks)

    def explain(self, picture: Pixels, index: int) -> dict[str, Any]:
        """Where the network saw class `index`. Raises explain.CannotExplain."""
        heat = explain.grad_cam(self.forward, self._input([picture]), index)
        png = base64.b64encode(explain.overlay(picture, heat)).decode()
        return {"method": "grad-cam", "class": self.classes[index], "png": png}

    def _input(self, pictures: Sequence[Pixels]) -> torch.Tensor:
        stacked = np.stack(pictures)  # [N, H, W, 3]: permuted, it is channels-last already
        if self.device.type == "cpu":
            batch = torch.from_numpy(self.preprocessing.normalise_array(stacked))
            return batch.permute(0, 3, 1, 2).to(self.kind)
        # From pinned memory the copy does not wait for the GPU.
        batch = torch.from_numpy(stacked).pin_memory().to(self.device, non_blocking=True)
        return self.preprocessing.normalise(batch.permute(0, 3, 1, 2)).to(self.kind)

    def _chunk(self, pictures: Sequence[Pixels]) -> Probabilities:
        with torch.inference_mode():
            logits = self.forward(self._input(pictures))
            probabilities: Probabilities = logits.float().softmax(dim=1).cpu().numpy()
        return probabilities

    def _warm_up(self, path: Path) -> None:
        # The first calls choose kernels and allocate. A forked worker inherits what this process has done.
        side = self.preprocessing.input_size
        picture = np.full((side, side, 3), 128, dtype=np.uint8)
        for count in (1, 1) if self.device.type == "cpu" else (1, 8, 8):
            if not np.isfinite(self.probabilities([picture] * count)).all():
                raise ServeError(
                    f"the model in {path} answers with NaN: its training diverged; train it again"
                )


def prepare(module: nn.Module, place: torch.device, number: torch.dtype, side: int) -> nn.Module:
    """The network as it will serve, for pictures of side x side. `module` stays as it is."""
    if place.type == "cuda":
        return channels_last(module if number == torch.float32 else copy.deepcopy(module).to(number))
    try:
        frozen = freeze(module, side, number)
        if number == torch.float32:
            check_frozen(module, frozen, side)
    except Exception as error:  # torch.fx does not understand every network
        log.warning("the network is served as it is, not frozen, which is slower: %s", error)
        return channels_last(copy.deepcopy(module).to(number))
    return frozen


def check_frozen(module: nn.Module, frozen: nn.Module, side: int) -> None:
    """Raise ServeError unless both compute the same. A network with NaN passes: that is told elsewhere."""
    pictures = torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = module(pictures)
        found = frozen(pictures.contiguous(memory_format=torch.channels_last))
    scale = max(float(expected.abs().max()), 1.0)
    if float((expected - found).abs().max()) > 1e-3 * scale:
        raise ServeError("frozen, it computes something else")
