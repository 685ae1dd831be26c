"""The model in memory: pictures in, probabilities out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import nn

from model import artifact, device
from model.preprocess import Preprocessing
from serve import quick
from serve.errors import ServeError
from serve.frozen import channels_last, freeze

# The most pictures in one forward pass: bounds a worker's memory.
_CHUNK: Final = 32

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Probabilities = np.ndarray[Any, np.dtype[np.float32]]


@dataclasses.dataclass(frozen=True)
class Classifier:
    """`model` is what an answer says about the model; `version` in it tells two artifacts apart."""

    forward: nn.Module
    device: torch.device
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    model: dict[str, Any]

    @classmethod
    def load(
        cls,
        folder: Path,
        wanted: Literal["auto", "cpu", "cuda"] = "auto",
        gpu: int | None = None,
        threads: int = 1,
    ) -> Classifier:
        """Read, freeze and warm up.

        Args:
            gpu: index of the GPU, where one is used.
            threads: of the forward pass. More workers with one thread each beat one with many.

        Raises:
            model.artifact.ArtifactError, model.device.DeviceError, ServeError: with a sentence for the log.
        """
        torch.set_num_threads(threads)
        kind = device.choose(device.probe(), wanted) if wanted != "cpu" else "cpu"
        place = torch.device(kind, gpu or 0) if kind == "cuda" else torch.device("cpu")
        with quick.skip_initialisation():
            module, info = artifact.load(folder, place)
        version = hashlib.sha256((folder / artifact.INFO_FILE).read_bytes()).hexdigest()[:12]
        described = {"architecture": info.architecture, "classes": len(info.classes), "version": version}
        forward = freeze(module) if kind == "cpu" else channels_last(module)
        classifier = cls(forward, place, info.classes, info.preprocessing, described)
        classifier._warm_up(folder)
        return classifier

    def probabilities(self, pictures: Sequence[Pixels]) -> Probabilities:
        """Class probabilities [N, classes] of N pictures, each [input_size, input_size, 3] bytes."""
        chunks = [self._chunk(pictures[first : first + _CHUNK]) for first in range(0, len(pictures), _CHUNK)]
        return np.concatenate(chunks)

    def _chunk(self, pictures: Sequence[Pixels]) -> Probabilities:
        batch = torch.from_numpy(np.stack(pictures))  # [N, H, W, 3]: permuted, it is channels-last already
        with torch.inference_mode():
            batch = batch.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
            logits = self.forward(self.preprocessing.normalise(batch))
            probabilities: Probabilities = logits.softmax(dim=1).cpu().numpy()
        return probabilities

    def _warm_up(self, folder: Path) -> None:
        # The first calls choose kernels and allocate. A forked worker inherits what this process has done.
        side = self.preprocessing.input_size
        picture = np.full((side, side, 3), 128, dtype=np.uint8)
        for count in (1, 1) if self.device.type == "cpu" else (1, 8, 8):
            if not np.isfinite(self.probabilities([picture] * count)).all():
                raise ServeError(
                    f"the model in {folder} answers with NaN: its training diverged; train it again"
                )
