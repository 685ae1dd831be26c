"""The series of `series.json` as arrays. The file is not trusted: what is not a number becomes NaN."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from report.read.values import mapping, number, sequence

Array = NDArray[np.float64]

OPERATORS = 50
INTERRUPTIONS = 100
LATEST = 1e11
"""Epoch seconds, in the year 5138: what is later is not a time."""
PHASES = {
    "data_wait_ms": "Waiting for data",
    "host_to_device_ms": "Copy to device",
    "forward_ms": "Forward",
    "backward_ms": "Backward",
    "optimizer_ms": "Optimizer",
    "other_ms": "Other",
    "hook_ms": "The debugger",
}
"""The parts of a training step, in the order of time, as `series.json` and as the report name them."""


def numbers(value: object) -> Array:
    return np.array([number(item) for item in sequence(value)], dtype=np.float64)


@dataclass(frozen=True)
class Curve:
    """Values over steps, sorted by step; both (n,). A NaN or inf value is one that the job computed."""

    step: Array
    value: Array

    def __len__(self) -> int:
        return len(self.step)

    @property
    def finite(self) -> NDArray[np.bool_]:
        return np.isfinite(self.value)

    def where(self, mask: NDArray[np.bool_]) -> Curve:
        return Curve(self.step[mask], self.value[mask])


def curve(step: object, value: object) -> Curve:
    x, y = (item if isinstance(item, np.ndarray) else numbers(item) for item in (step, value))
    count = min(len(x), len(y))
    x, y = x[:count], y[:count]
    placed = np.isfinite(x)
    x, y = x[placed], y[placed]
    order = np.argsort(x, kind="stable")
    return Curve(x[order], y[order])


@dataclass(frozen=True)
class Operator:
    """One operator of the torch.profiler window: its own time, without that of what it called."""

    name: str
    calls: float
    cpu_ms: float
    device_ms: float


@dataclass(frozen=True)
class Rank:
    """What one of several processes computed on its own share of the batches."""

    loss: Curve
    gradient: Curve


@dataclass
class Series:
    """`interruptions` are the moments, in epoch seconds, at which the training went on after one."""

    losses: dict[str, dict[str, Curve]] = field(default_factory=dict)
    gradients: dict[str, Curve] = field(default_factory=dict)
    updates: dict[str, Curve] = field(default_factory=dict)
    activations: dict[str, Curve] = field(default_factory=dict)
    step: Array = field(default_factory=lambda: np.empty(0))
    mode: list[str] = field(default_factory=list)
    total_ms: Array = field(default_factory=lambda: np.empty(0))
    phases: dict[str, Array] = field(default_factory=dict)
    time: Array = field(default_factory=lambda: np.empty(0))
    system: dict[str, Array] = field(default_factory=dict)
    core_time: Array = field(default_factory=lambda: np.empty(0))
    cores: dict[str, Array] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    operators_from: str = ""
    ranks: dict[str, Rank] = field(default_factory=dict)
    interruptions: list[float] = field(default_factory=list)

    @property
    def last_step(self) -> float:
        """The last step that is recorded of the training's losses and times; infinity where none is."""
        losses = [modes["TRAIN"].step for modes in self.losses.values() if "TRAIN" in modes]
        steps: Array = np.concatenate([self.step, *losses])
        steps = steps[np.isfinite(steps)]
        return float(steps.max()) if len(steps) else math.inf


def read_series(raw: Mapping[str, Any]) -> Series:
    """`series.json` (schema 1)."""
    series = Series()
    for name, modes in mapping(raw.get("losses")).items():
        series.losses[str(name)] = {
            str(mode): curve(mapping(part).get("step"), mapping(part).get("value"))
            for mode, part in mapping(modes).items()
        }
    series.gradients = _curves(raw.get("gradients"), "norm")
    series.activations = _curves(raw.get("activations"), "active_share")
    norms = _curves(raw.get("weights"), "norm")
    for name, updates in _curves(raw.get("weights"), "update_ratio").items():
        # The first saved weight has no predecessor: that null means "none yet". Any other means NaN if the
        # weights themselves are NaN, and "nothing to compare" if they are not.
        weights = norms[name]
        broken = ~weights.finite if len(weights) == len(updates) else np.zeros(len(updates), dtype=bool)
        kept = updates.finite | broken
        series.updates[name] = updates.where(kept)
    timing = mapping(raw.get("step_time"))
    total = numbers(timing.get("total_ms"))
    columns = {phase: numbers(timing.get(phase)) for phase in PHASES}
    count = min(len(total), len(sequence(timing.get("step"))))
    series.step, series.total_ms = numbers(timing.get("step"))[:count], total[:count]
    series.mode = [str(mode) for mode in sequence(timing.get("mode"))[:count]]
    series.mode += ["TRAIN"] * (count - len(series.mode))
    for phase, values in columns.items():
        padded = np.zeros(count)
        padded[: min(count, len(values))] = np.nan_to_num(values[:count], nan=0.0, posinf=0.0, neginf=0.0)
        series.phases[phase] = padded
    # The debugger's own work is in a step's total and in none of its other parts.
    accounted = np.sum(list(series.phases.values()), axis=0) - series.phases["hook_ms"]
    series.phases["hook_ms"] = np.nan_to_num(np.maximum(series.total_ms - accounted, 0.0), posinf=0.0)
    system = mapping(raw.get("system"))
    time = numbers(system.get("time"))
    timed = np.isfinite(time)
    series.time = time[timed]
    for name in system:
        values = numbers(system.get(name))
        if name != "time" and len(values) == len(time) and np.isfinite(values[timed]).any():
            series.system[str(name)] = values[timed]
    cores = mapping(raw.get("cores"))
    time = numbers(cores.get("time"))
    timed = np.isfinite(time)
    series.core_time = time[timed]
    for name, values in mapping(cores.get("units")).items():
        if len(sequence(values)) == len(time):
            series.cores[str(name)] = numbers(values)[timed]
    operators = mapping(raw.get("operators"))
    series.operators_from = str(operators.get("from") or "")
    series.operators = [
        Operator(
            str(row.get("name", "")), *(number(row.get(key)) for key in ("calls", "cpu_ms", "device_ms"))
        )
        for row in map(mapping, sequence(operators.get("rows"))[:OPERATORS])
    ]
    ranks = mapping(raw.get("ranks"))
    for rank in sorted((rank for rank in ranks if re.fullmatch(r"[0-9]{1,6}", rank)), key=int):
        own = mapping(ranks[rank])
        series.ranks[rank] = Rank(
            curve(own.get("step"), own.get("loss")),
            curve(own.get("gradient_step"), own.get("gradient_norm")),
        )
    times = numbers(raw.get("interruptions"))
    series.interruptions = sorted(times[(times >= 0) & (times < LATEST)].tolist())[:INTERRUPTIONS]
    return series


def _curves(raw: object, column: str) -> dict[str, Curve]:
    names = sorted(map(str, mapping(raw)), key=layer_order)
    curves = {
        name: curve(mapping(raw)[name].get("step"), mapping(raw)[name].get(column))
        for name in names
        if isinstance(mapping(raw)[name], Mapping)
    }
    return {
        name: values for name, values in zip(short_names(curves), curves.values(), strict=True) if len(values)
    }


_FIRST = re.compile(r"(^|[._])(stem|conv1|bn1|relu|maxpool|patch_embed)([._]|$)")
_LAST = re.compile(r"(^|[._])(fc|head|classifier|avgpool)([._]|$)")


def layer_order(name: str) -> tuple[Any, ...]:
    """Input to output, as torchvision's ResNets name their layers; numbers in their natural order."""
    inner = re.search(r"layer\d|block", name) is not None
    place = 1 if inner else 0 if _FIRST.search(name) else 2 if _LAST.search(name) else 1
    return place, [_part_order(part) for part in re.split(r"[._]", name)]


def _part_order(part: str) -> tuple[int, int, int, str]:
    """`conv1`, `bn1`, `relu1`, `conv2` …, then what has no such place (`downsample`)."""
    if part.isdigit():
        return 0, int(part), 0, ""
    kind = re.fullmatch(r"(conv|bn|norm|relu|act)(\d{0,6})", part)
    if kind:
        return 0, int(kind.group(2) or 0), ("conv", "bn", "norm", "relu", "act").index(kind.group(1)), ""
    number = re.fullmatch(r"(.*?)(\d{1,6})", part)
    return (1, int(number.group(2)), 0, number.group(1)) if number else (1, 0, 0, part)


def short_names(names: Iterable[str]) -> list[str]:
    """Names without what they all begin with (`gradient/`, the model's class name)."""
    listed = [name.removeprefix("gradient/") for name in names]
    if len(listed) < 2:
        return listed
    common = re.match(r"[A-Za-z0-9]+[_.]", listed[0])
    prefix = common.group(0) if common else ""
    if prefix and all(name.startswith(prefix) and len(name) > len(prefix) for name in listed):
        return [name.removeprefix(prefix) for name in listed]
    return listed


def thin(values: Curve, limit: int = 1_000) -> Curve:
    """At most about `limit` points, the lowest and the highest of every stretch and all breaks kept."""
    if len(values) <= limit:
        return values
    kept: set[int] = {0, len(values) - 1}
    for part in np.array_split(np.arange(len(values)), limit // 3):
        inside = values.value[part]
        finite = np.isfinite(inside)
        if finite.any():
            masked = np.where(finite, inside, np.nan)
            kept |= {int(part[np.nanargmin(masked)]), int(part[np.nanargmax(masked)])}
        if not finite.all():
            kept.add(int(part[np.flatnonzero(~finite)[0]]))
    index = np.array(sorted(kept))
    return Curve(values.step[index], values.value[index])


def smooth(values: Curve, geometric: bool = False) -> Curve:
    """A moving average over about a twentieth of the curve; it breaks where the values are not finite.

    It is the mean of an exponential average forwards and one backwards. `geometric` averages logarithms: on a
    logarithmic axis one spike would otherwise hide all that follows it.
    """
    levels = np.log(np.where(values.value > 0, values.value, np.nan)) if geometric else values.value
    weight = 2.0 / (max(len(values) / 40.0, 3.0) + 1.0)
    mean = (_average(levels, weight) + _average(levels[::-1], weight)[::-1]) / 2
    return Curve(values.step, np.exp(mean) if geometric else mean)


def _average(values: Array, weight: float) -> Array:
    result = np.full(len(values), np.nan)
    mean = math.nan
    for index, value in enumerate(values):
        if math.isfinite(value):
            mean = value if math.isnan(mean) else mean + weight * (value - mean)
            result[index] = mean
        else:
            mean = math.nan
    return result
