"""Numbers of 16 or 8 bits instead of 32: two to five times as fast, if the model says the same with them.

Whoever wants them gets them only after a check at start: on the pictures that the trainer has stored with the
model (else on pictures made up here), the best class must stay the same and no probability move far.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import safetensors
import safetensors.numpy

from model import artifact
from model.artifact import Pixels, Probabilities

_MAX_SHIFT: Final = 0.05  # of a probability
_CLEAR: Final = 0.1  # between the two best classes; less is a toss-up, which 8 bits may decide otherwise
_MAX_DRIFT: Final = 0.01  # from training's machine to this one; TF32 on a GPU makes a few thousandths
_MOST: Final = 256
_HEADER_BYTES: Final = 65_536
_MADE_UP: Final = 16


def candidate(wanted: str, kind: str, capability: tuple[int, int] | None) -> str:
    """What torch is to try. On its own only on a GPU: there the gain is large, and 32 bits on a CPU are
    exactly what training has evaluated."""
    if wanted not in ("auto", "int8"):
        return wanted
    if kind != "cuda" or capability is None:
        return "fp32"
    return "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`passed`, and why in words."""

    passed: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class Samples:
    """What to compare on: `pictures`, each uint8 [S, S, 3]; `name` says in words what they are.

    `trained`: float32 [N, classes], what the trainer found for them; None where nobody has.
    """

    pictures: list[Pixels]
    name: str
    trained: Probabilities | None = None


class BadSamples(ValueError):
    """The stored samples cannot be used; the text says why."""


def compare(
    full: Callable[[list[Pixels]], Probabilities],
    reduced: Callable[[list[Pixels]], Probabilities],
    samples: Samples,
) -> Verdict:
    """Put the same pictures through both."""
    expected = full(samples.pictures)
    if samples.trained is not None and (words := drifted(expected, samples.trained, samples.name)):
        return Verdict(False, words)
    return judge(expected, reduced(samples.pictures), samples.name)


def drifted(expected: Probabilities, trained: Probabilities, name: str) -> str:
    """Where fp32 itself answers otherwise than in training, a sentence. `name`: of the pictures."""
    shift = float(np.abs(expected - trained[: len(expected)]).max())
    if shift <= _MAX_DRIFT:
        return ""
    return f"fp32 itself is {shift:.3f} off what training found on {len(expected)} {name}"


def judge(expected: Probabilities, found: Probabilities, name: str, *, whole: bool = True) -> Verdict:
    """Whether `found` says the same as `expected`, both [N, classes]. `name`: of the pictures.

    `whole`: for each picture. Otherwise, for 8-bit integers, classes that are close may change places, and
    probabilities must be near each other on average: training has accepted them by that.
    """
    where = f"on {len(expected)} {name}"
    if not np.isfinite(found).all():
        return Verdict(False, "it overflows")
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] >= (0 if whole else _CLEAR)
    changed = int(((expected.argmax(axis=1) != found.argmax(axis=1)) & clear).sum())
    shifts = np.abs(expected - found).max(axis=1)
    shift = float(shifts.max() if whole else shifts.mean())
    if changed:
        return Verdict(False, f"it changes the class {where}: {changed}")
    if shift > _MAX_SHIFT:
        return Verdict(False, f"it moves a probability by {shift:.3f} {where}; allowed: {_MAX_SHIFT}")
    return Verdict(True, f"same classes {where}, probabilities within {shift:.4f}")


def read_samples(folder: Path, side: int, classes: int) -> Samples:
    """What the trainer has stored; where there is nothing, patterns made up here, always the same.

    Args:
        side: of the square that the network sees, in pixels.
        classes: how many the network has.

    Raises:
        BadSamples: the file is there and is damaged, too large, or for another network.
    """
    path = folder / artifact.SAMPLES_FILE
    if not path.exists():
        return Samples(made_up(side), f"patterns made up here, as there is no {artifact.SAMPLES_FILE}")
    try:
        if path.stat().st_size > _MOST * (3 * side * side + 4 * classes) + _HEADER_BYTES:
            raise BadSamples(f"{artifact.SAMPLES_FILE} is larger than {_MOST} pictures of {side} x {side}")
        stored = safetensors.numpy.load(path.read_bytes())
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        if isinstance(error, BadSamples):
            raise
        raise BadSamples(f"{artifact.SAMPLES_FILE} cannot be read: {error}") from error
    pictures, trained = stored.get("pictures"), stored.get("probabilities")
    if pictures is None or pictures.dtype != np.uint8 or pictures.shape[1:] != (side, side, 3):
        raise BadSamples(f"{artifact.SAMPLES_FILE} must hold 'pictures', uint8 [n, {side}, {side}, 3]")
    if not 1 <= len(pictures) <= _MOST:
        raise BadSamples(f"{artifact.SAMPLES_FILE} holds {len(pictures)} pictures; it must be 1 to {_MOST}")
    if trained is not None:
        if trained.dtype != np.float32 or trained.shape != (len(pictures), classes):
            raise BadSamples(f"{artifact.SAMPLES_FILE} must hold 'probabilities' as float32 [n, {classes}]")
        if not np.isfinite(trained).all():
            raise BadSamples(f"{artifact.SAMPLES_FILE} holds probabilities that are no numbers")
    return Samples(list(pictures), "pictures that the trainer stored", trained)


def made_up(side: int) -> list[Pixels]:
    """Patterns from coarse to fine, always the same."""
    generator = np.random.default_rng(0)
    pictures = []
    for number in range(_MADE_UP):
        cells = 2 + number
        coarse = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        index = np.arange(side) * cells // side
        pictures.append(np.ascontiguousarray(coarse[index][:, index]))
    return pictures
