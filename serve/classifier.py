"""The model in memory: pictures in, probabilities out."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model import artifact
from model.preprocess import Preprocessing
from serve import explain, folder, settings
from serve.engine import Engine, Pixels, Probabilities
from serve.errors import ServeError

if TYPE_CHECKING:
    from serve.torch_engine import Torch

# The most pictures that are computed together: bounds a worker's memory.
_CHUNK: Final = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """`model` is what an answer says about the model; its `version` distinguishes two artifacts."""

    engine: Engine
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    model: dict[str, Any]
    folder: Path

    @classmethod
    def load(
        cls,
        path: Path,
        wanted: str = "auto",
        gpu: int | None = None,
        threads: int = 1,
        numbers: str = "auto",
    ) -> Classifier:
        """Read, make ready and warm up.

        Args:
            path: the model's folder.
            gpu: index of the GPU, where one is used.
            threads: of the forward pass. More workers with one thread each beat one with many.
            numbers: one of settings.PRECISIONS.

        Raises:
            model.artifact.ArtifactError, ServeError: with a sentence for the log.
        """
        kind = place(wanted)
        folder.check(path)
        info, weights = artifact.read_info(path)
        engine: Engine
        if kind == "cpu" and info.onnx and has("openvino"):
            from serve import openvino_engine

            engine = openvino_engine.load(path, info, weights, threads, numbers)
        elif has("torch"):
            from serve import torch_engine

            engine = torch_engine.load(path, wanted, gpu, threads, numbers)
        elif info.onnx:
            raise ServeError("neither openvino nor torch is installed in this Python environment")
        else:
            raise ServeError(
                f"the model in {path} has no {artifact.GRAPH_FILE}, which this image computes with: it was "
                "trained by an older version. Serve it with the image byoc-serve, or train it again"
            )
        described = {
            "architecture": info.architecture,
            "classes": len(info.classes),
            "version": hashlib.sha256((path / artifact.INFO_FILE).read_bytes()).hexdigest()[:12],
            "engine": engine.name,
            "precision": engine.precision,
        }
        return cls(engine, info.classes, info.preprocessing, described, path)

    def probabilities(self, pictures: Sequence[Pixels]) -> Probabilities:
        """Class probabilities [N, classes] of N pictures, each [input_size, input_size, 3] bytes."""
        chunks = [
            self.engine.probabilities(pictures[first : first + _CHUNK])
            for first in range(0, len(pictures), _CHUNK)
        ]
        return np.concatenate(chunks)

    def explain(self, picture: Pixels, index: int) -> dict[str, Any]:
        """Where the network saw class `index`. Raises explain.CannotExplain."""
        try:
            heat = self.engine.heat(picture, index)
        except explain.CannotExplain:
            if self.engine.name == "torch" or not has("torch"):
                raise
            heat = self._torch.heat(picture, index)
        png = base64.b64encode(explain.overlay(picture, heat)).decode()
        return {"method": "grad-cam", "class": self.classes[index], "png": png}

    @functools.cached_property
    def _torch(self) -> Torch:
        """The same network once more, for what the other engine cannot do."""
        from serve import torch_engine

        return torch_engine.load(self.folder, "cpu", None, 1, "fp32")


def has(package: str) -> bool:
    """Whether this environment has the package: the images differ in it."""
    return importlib.util.find_spec(package) is not None


def place(wanted: str) -> str:
    """cpu or cuda. Does not import torch where nothing speaks for a GPU.

    Raises:
        ServeError: a GPU is there or was asked for, and cannot be used.
    """
    shown = settings.visible_gpus() > 0
    # Windows hands its GPUs to Linux as /dev/dxg, which exists without one too; torch can tell them apart.
    maybe = shown or (has("torch") and Path("/dev/dxg").exists())
    if wanted == "cpu" or (wanted == "auto" and not maybe):
        return "cpu"
    if has("torch"):
        from serve import torch_engine

        return torch_engine.place(wanted)
    asked = "BYOC_DEVICE=cuda asks for a GPU" if wanted == "cuda" else "this machine shows a GPU"
    raise ServeError(
        f"{asked}, and this image computes on CPUs: use the image byoc-serve, or BYOC_DEVICE=cpu"
    )
