"""One step's tensors as the rules see them: sorted by kind, reduced to the numbers that rules ask for.

The training process reduces them itself (`debugger.reduce`); of a trial in smdebug's files, `statistics`
does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Kind = Literal["loss", "gradient", "weight", "bias", "input", "output", "other"]
FIRST_WORKER = "worker_0"
MAX_NAME = 300
# Percentiles of tens of millions of values are not worth their sorting.
PERCENTILE_SAMPLE = 20_000
LOW, HIGH = 5, 95
MAX_VALUES = 1_000_000  # of a tensor that is kept whole: labels, scores
_LOSS = re.compile(r"[Ll]oss_(?!input).*output")
_LAYER = re.compile(r"_(input|output)_\d+$")


@lru_cache(maxsize=8192)
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
class Change:
    """How far a weight moved since the step that it was looked at before.

    `norm` is that of the difference, `before` that of the weight then; `step` is when.
    """

    norm: float
    before: float
    step: int

    def ratio(self, epsilon: float = 1e-9) -> float | None:
        """|difference| / |weight before|; None where that was zero, or one is not finite."""
        finite = np.isfinite(self.norm) and np.isfinite(self.before)
        return self.norm / (self.before + epsilon) if finite and self.before > 0 else None


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is kept of one tensor. None is what nobody computed, because no rule asks it of such a tensor.

    Attributes:
        size, nan, infinite: how many values; NaN and infinite ones are left out of the rest.
        mean, mean_abs, norm, variance, minimum, maximum: of the values.
        span: 5th and 95th percentile, of a sample where there are many values.
        active: of each unit (channel) of a layer's output, the share of its values above zero.
        change: of a weight.
        values: the tensor itself, where it is small: labels, scores.
    """

    size: int
    nan: int = 0
    infinite: int = 0
    mean: float | None = None
    mean_abs: float | None = None
    norm: float | None = None
    variance: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    span: tuple[float, float] | None = None
    active: Array | None = None
    change: Change | None = None
    values: Array | None = None

    @property
    def finite(self) -> bool:
        """Whether every value is a number."""
        return not self.nan and not self.infinite

    @property
    def largest(self) -> float:
        """The largest absolute value, 0 where it is not known."""
        return max(abs(self.minimum or 0.0), abs(self.maximum or 0.0))


def statistics(array: Array, **more: Any) -> Statistics:
    """Statistics of all values, without `span`, `active`, `change` and `values` unless they are given."""
    values: Array = np.asarray(array).ravel()
    if values.dtype.kind not in "fiub" or values.size == 0:
        return Statistics(size=int(values.size), **more)
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
                return Statistics(size=int(values.size), nan=nan, infinite=infinite, **more)
            total = float(np.sum(numbers, dtype=np.float64))
        squares = float(np.dot(numbers, numbers))
        if not np.isfinite(squares):
            wide = numbers.astype(np.float64)
            squares = float(np.dot(wide, wide))
        mean = total / numbers.size
        return Statistics(
            size=int(values.size),
            nan=nan,
            infinite=infinite,
            mean=mean,
            mean_abs=float(np.sum(np.abs(numbers), dtype=np.float64)) / numbers.size,
            norm=float(np.sqrt(squares)),
            variance=max(squares / numbers.size - mean * mean, 0.0),
            minimum=float(numbers.min()),
            maximum=float(numbers.max()),
            **more,
        )


def percentiles(array: Array) -> tuple[float, float]:
    """5th and 95th percentile of the finite values, of a sample where there are very many."""
    values: Array = np.asarray(array).ravel()
    if values.size > 2 * PERCENTILE_SAMPLE:
        # At random: every n-th value may be the same tap of each kernel.
        values = np.random.default_rng(0).choice(values, PERCENTILE_SAMPLE)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(values.astype(np.float64), [LOW, HIGH])
    return float(low), float(high)


def active_share(array: Array) -> npt.NDArray[np.float64]:
    """Of each unit's values, the share above zero. Units are the channels (axis 1), or all values as one."""
    values = np.asarray(array)
    if values.ndim < 2:
        return np.array([float(np.mean(values > 0))]) if values.size else np.array([])
    axes = (0, *range(2, values.ndim))
    return np.asarray(np.mean(values > 0, axis=axes), dtype=np.float64)


def from_reductions(values: Mapping[str, float]) -> Statistics:
    """Statistics as far as smdebug's saved reductions (`mean`, `abs_mean`, `l2`, …) contain them."""
    numbers = list(values.values())
    variance = values.get("variance")
    if variance is None and "std" in values:
        variance = values["std"] ** 2
    return Statistics(
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


@dataclass
class Observation:
    """What was looked at in one step of one mode by one worker.

    Attributes:
        step: of its mode, counted from 0.
        collections: which of the tensors belong to which collection.
        configured: all collections that are looked at, those without a tensor here too.
        pictures: how many the step's loss is the mean of; None where that is not known.
        right: of how many of these the network's best class is the label; None where that is not known.
    """

    step: int
    mode: str
    worker: str = FIRST_WORKER
    tensors: dict[str, Statistics] = field(default_factory=dict)
    collections: Mapping[str, frozenset[str]] = field(default_factory=dict)
    configured: frozenset[str] = frozenset()
    pictures: int | None = None
    right: int | None = None

    def of_kind(self, *kinds: Kind) -> Iterator[tuple[str, Statistics]]:
        """Name and statistics of the tensors of some kinds."""
        for name, tensor in self.tensors.items():
            if kind_of(name) in kinds:
                yield name, tensor

    def losses(self) -> dict[str, float]:
        """The losses, each one number (the mean where saved per sample); NaN where it is not finite."""
        values: dict[str, float] = {}
        for name, tensor in self.of_kind("loss"):
            if not tensor.finite:
                values[name] = float("nan")
            elif tensor.mean is not None:
                values[name] = tensor.mean
        return values


class Reducer:
    """Makes observations of arrays: what a trial in smdebug's files holds.

    It remembers each weight that it saw, to say how far the next one has moved; with `distance`, one that
    is at least so many steps older.
    """

    def __init__(self, distance: int = 1) -> None:
        self._distance = distance
        self._weights: dict[tuple[str, str], tuple[int, Array]] = {}

    def tensor(self, name: str, array: Array, step: int, worker: str) -> Statistics:
        """The statistics that rules may ask of a tensor of that name."""
        kind = kind_of(name)
        if kind == "gradient":
            return statistics(array, span=percentiles(array))
        if kind == "weight":
            return statistics(array, change=self._change(name, array, step, worker))
        values = array if array.ndim <= 2 and array.size <= MAX_VALUES else None
        if kind == "output":
            return statistics(array, active=active_share(array), values=values)
        return statistics(array, values=values)

    def _change(self, name: str, array: Array, step: int, worker: str) -> Change | None:
        before = self._weights.get((name, worker))
        if before is not None and step - before[0] < self._distance:
            return None
        self._weights[name, worker] = (step, array)
        if before is None or before[1].shape != array.shape or before[1].dtype != array.dtype:
            return None
        old = np.asarray(before[1], dtype=np.float32).ravel()
        with np.errstate(all="ignore"):
            moved = float(np.linalg.norm(np.asarray(array, dtype=np.float32).ravel() - old))
            return Change(moved, float(np.linalg.norm(old)), before[0])
