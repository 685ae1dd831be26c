"""Numbers of 16 bits instead of 32: about twice as fast, if they do not change what the model says.

Whoever wants them gets them only after a check at start: on the pictures that the trainer has stored with the
model (else on pictures made up here), the best class must stay the same and no probability move far.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy
import torch

NAMES: Final = ("auto", "fp32", "bf16", "fp16")
TYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SAMPLES_FILE: Final = "samples.safetensors"
_MAX_SHIFT: Final = 0.05  # of a probability
_MADE_UP: Final = 16

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Probabilities = np.ndarray[Any, np.dtype[np.float32]]


def candidate(wanted: str, kind: str, capability: tuple[int, int] | None) -> str:
    """What to try. On its own only on a GPU: there the gain is large, and 32 bits on a CPU are exactly what
    training has evaluated."""
    if wanted != "auto":
        return wanted
    if kind != "cuda" or capability is None:
        return "fp32"
    return "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`passed`, and why in words."""

    passed: bool
    reason: str


def compare(
    full: Callable[[list[Pixels]], Probabilities],
    reduced: Callable[[list[Pixels]], Probabilities],
    pictures: list[Pixels],
) -> Verdict:
    """Put the same pictures through both."""
    expected, found = full(pictures), reduced(pictures)
    if not np.isfinite(found).all():
        return Verdict(False, "it overflows")
    changed = int((expected.argmax(axis=1) != found.argmax(axis=1)).sum())
    shift = float(np.abs(expected - found).max())
    where = f"on {len(pictures)} sample pictures"
    if changed:
        return Verdict(False, f"it changes the class {where}: {changed}")
    if shift > _MAX_SHIFT:
        return Verdict(False, f"it moves a probability by {shift:.3f} {where}; allowed: {_MAX_SHIFT}")
    return Verdict(True, f"same classes {where}, probabilities within {shift:.4f}")


def samples(folder: Path, side: int) -> list[Pixels]:
    """The stored pictures, each [side, side, 3]; where there are none, patterns, always the same."""
    path = folder / SAMPLES_FILE
    if path.is_file():
        try:
            stored = safetensors.numpy.load_file(path)["pictures"]
        except (OSError, KeyError, ValueError, safetensors.SafetensorError):
            stored = np.zeros(0)
        if stored.dtype == np.uint8 and stored.shape[1:] == (side, side, 3) and len(stored):
            return list(stored[:256])
    generator = np.random.default_rng(0)
    pictures = []
    for number in range(_MADE_UP):
        cells = 2 + number
        coarse = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        index = np.arange(side) * cells // side
        pictures.append(np.ascontiguousarray(coarse[index][:, index]))
    return pictures
