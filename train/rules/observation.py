"""One step's tensors as the rules see them: sorted by kind, reduced to the numbers that rules ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Kind = Literal["loss", "gradient", "weight", "bias", "input", "output", "other"]
REDUCTIONS_PREFIX = "smdebug/reductions/"
MAX_NAME = 300
# Percentiles of tens of millions of values are not worth their sorting.
PERCENTILE_SAMPLE = 20_000
_LOSS = re.compile(r"[Ll]oss_(?!input).*output")
_LAYER = re.compile(r"_(input|output)_\d+$")


def kind_of(name: str) -> Kind:
    """The kind of a tensor by smdebug's naming."""
    if name.startswith("gradient/"):
        return "gradient"
    if _LOSS.search(name):
        return "loss"
    layer = _LAYER.search(name)
    if layer:
        return "input" if layer.group(1) == "input" else "output"
    if "weight" in name:
        return "weight"
    return "bias" if "bias" in name else "other"


@dataclass(frozen=True, slots=True)
class Digest:
    """A tensor's statistics. What only reductions would have told is None where they were not saved."""

    size: int
    nan: int = 0
    infinite: int = 0
    mean: float | None = None
    mean_abs: float | None = None
    norm: float | None = None
    variance: float | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def finite(self) -> bool:
        """Whether every value is a number."""
        return not self.nan and not self.infinite


def digest(array: Array) -> Digest:
    """Statistics of all values; NaN and infinite values are counted and left out of the rest."""
    values: Array = np.asarray(array).ravel()
    if values.dtype.kind not in "fiub" or values.size == 0:
        return Digest(size=int(values.size))
    numbers: Array = values.astype(np.float32, copy=False) if values.dtype.kind != "f" else values
    if numbers.dtype == np.float16:
        numbers = numbers.astype(np.float32)
    nan = infinite = 0
    with np.errstate(all="ignore"):
        total = float(np.sum(numbers, dtype=np.float64))
        if not np.isfinite(total):
            finite = np.isfinite(numbers)
            nan = int(np.count_nonzero(np.isnan(numbers)))
            infinite = int(numbers.size - np.count_nonzero(finite) - nan)
            numbers = numbers[finite]
            if numbers.size == 0:
                return Digest(size=int(values.size), nan=nan, infinite=infinite)
            total = float(np.sum(numbers, dtype=np.float64))
        squares = float(np.dot(numbers, numbers))
        if not np.isfinite(squares):
            wide = numbers.astype(np.float64)
            squares = float(np.dot(wide, wide))
        mean = total / numbers.size
        return Digest(
            size=int(values.size),
            nan=nan,
            infinite=infinite,
            mean=mean,
            mean_abs=float(np.sum(np.abs(numbers), dtype=np.float64)) / numbers.size,
            norm=float(np.sqrt(squares)),
            variance=max(squares / numbers.size - mean * mean, 0.0),
            minimum=float(numbers.min()),
            maximum=float(numbers.max()),
        )


def percentiles(array: Array, low: float, high: float) -> tuple[float, float]:
    """Two percentiles of the finite values, of a sample where there are very many."""
    values: Array = np.asarray(array).ravel()
    if values.size > 2 * PERCENTILE_SAMPLE:
        # At random: every n-th value may be the same tap of each kernel.
        values = np.random.default_rng(0).choice(values, PERCENTILE_SAMPLE)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 0.0
    first, second = np.percentile(values.astype(np.float64), [low, high])
    return float(first), float(second)


def active_share(array: Array) -> npt.NDArray[np.float64]:
    """Of each unit's values, the share above zero. Units are the channels (axis 1), or all values as one."""
    values = np.asarray(array)
    if values.ndim < 2:
        return np.array([float(np.mean(values > 0))]) if values.size else np.array([])
    axes = (0, *range(2, values.ndim))
    return np.asarray(np.mean(values > 0, axis=axes), dtype=np.float64)


@dataclass
class Observation:
    """The tensors saved in one step of one mode by one worker."""

    step: int  # of its mode
    global_step: int
    mode: str
    worker: str
    arrays: dict[str, Array] = field(default_factory=dict)
    reductions: dict[str, dict[str, float]] = field(default_factory=dict)
    collections: Mapping[str, frozenset[str]] = field(default_factory=dict)
    configured: frozenset[str] = frozenset()  # collections of the trial, those without a tensor here too
    _digests: dict[str, Digest] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All tensors of the step, saved whole or reduced."""
        return sorted(set(self.arrays) | set(self.reductions))

    def of_kind(self, *kinds: Kind) -> Iterator[tuple[str, Digest]]:
        """Name and statistics of the tensors of some kinds."""
        for name in self.names():
            if kind_of(name) in kinds:
                yield name, self.digest(name)

    def losses(self) -> dict[str, float]:
        """The losses, each one number (the mean where saved per sample); NaN where it is not finite."""
        values: dict[str, float] = {}
        for name, found in self.of_kind("loss"):
            if not found.finite:
                values[name] = float("nan")
            elif found.mean is not None:
                values[name] = found.mean
        return values

    def digest(self, name: str) -> Digest:
        """A tensor's statistics, computed once."""
        if name not in self._digests:
            if name in self.arrays:
                self._digests[name] = digest(self.arrays[name])
            else:
                self._digests[name] = from_reductions(self.reductions.get(name, {}))
        return self._digests[name]


def from_reductions(values: Mapping[str, float]) -> Digest:
    """Statistics as far as the saved reductions (`mean`, `abs_mean`, `l2`, …) tell them."""
    numbers = list(values.values())
    variance = values.get("variance")
    if variance is None and "std" in values:
        variance = values["std"] ** 2
    return Digest(
        size=0,
        nan=sum(1 for value in numbers if np.isnan(value)),
        infinite=sum(1 for value in numbers if np.isinf(value)),
        mean=values.get("mean"),
        mean_abs=values.get("abs_mean"),
        norm=values.get("l2", values.get("abs_l2")),
        variance=variance,
        minimum=values.get("min"),
        maximum=values.get("max"),
    )
