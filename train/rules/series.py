"""series.json: the curves that the report draws, thinned so that the file stays small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from train.rules.observation import Array, Observation, active_share, kind_of
from train.rules.profile import PHASES, Profile, io_wait

MAX_POINTS = 2_000
MAX_CURVES = 400
MAX_CORES = 64
CORE_POINTS = 120


class Series:
    """Collects the curves of a job."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._losses: dict[str, dict[str, dict[str, list[Any]]]] = {}
        self._gradients: dict[str, dict[str, list[Any]]] = {}
        self._weights: dict[str, dict[str, list[Any]]] = {}
        self._activations: dict[str, dict[str, list[Any]]] = {}
        self._previous: dict[str, Array] = {}
        self._last_step = -1

    def observe(self, step: Observation) -> None:
        """Add a step. Of several workers the first one is drawn."""
        if step.mode in ("TRAIN", "GLOBAL"):
            self._last_step = max(self._last_step, step.step)
        if step.worker != "worker_0":
            return
        for name, value in step.losses().items():
            curve = self._losses.setdefault(name, {}).setdefault(step.mode, {"step": [], "value": []})
            curve["step"].append(step.step)
            curve["value"].append(_json(value))
        if step.mode not in ("TRAIN", "GLOBAL"):
            return
        for name in step.names():
            kind = kind_of(name)
            if kind == "gradient":
                self._add_gradient(name, step)
            elif kind == "weight":
                self._add_weight(name, step)
            elif kind == "output" and name in step.arrays and "relu" in name.lower():
                shares = active_share(step.arrays[name])
                curve = _curve(self._activations, name, ("step", "active_share"))
                if curve is not None and shares.size:
                    curve["step"].append(step.step)
                    curve["active_share"].append(round(float(shares.mean()), 5))

    def _add_gradient(self, name: str, step: Observation) -> None:
        curve = _curve(self._gradients, name.removeprefix("gradient/"), ("step", "norm", "mean_abs"))
        if curve is not None:
            found = step.digest(name)
            curve["step"].append(step.step)
            curve["norm"].append(_json(found.norm))
            curve["mean_abs"].append(_json(found.mean_abs))

    def _add_weight(self, name: str, step: Observation) -> None:
        curve = _curve(self._weights, name, ("step", "norm", "update_ratio"))
        if curve is None:
            return
        ratio = None
        array = step.arrays.get(name)
        if array is not None:
            ratio = update_ratio(self._previous.get(name), array)
            self._previous[name] = array
        curve["step"].append(step.step)
        curve["norm"].append(_json(step.digest(name).norm))
        curve["update_ratio"].append(_json(ratio))

    def to_dict(self, profile: Profile, *, complete: bool) -> dict[str, Any]:
        """The document."""
        return {
            "schema": 1,
            "job": self._job,
            "complete": complete,
            "last_step": self._last_step,
            "losses": {
                name: {mode: _thin(curve, "value") for mode, curve in modes.items()}
                for name, modes in self._losses.items()
            },
            "gradients": {name: _thin(curve, "norm") for name, curve in self._gradients.items()},
            "weights": {name: _thin(curve, "norm") for name, curve in self._weights.items()},
            "activations": {name: _thin(curve, "active_share") for name, curve in self._activations.items()},
            "step_time": _step_times(profile),
            "system": _system(profile),
            "cores": _cores(profile),
            "operators": {"from": profile.operators_from, "rows": profile.operators},
        }


def update_ratio(previous: Array | None, current: Array, epsilon: float = 1e-9) -> float | None:
    """|current - previous| / |previous| (norms); None where one is missing, all zero or not finite."""
    if previous is None or previous.shape != current.shape or previous.dtype != current.dtype:
        return None
    before = np.asarray(previous, dtype=np.float32).ravel()
    with np.errstate(all="ignore"):
        change = float(np.linalg.norm(np.asarray(current, dtype=np.float32).ravel() - before))
        norm = float(np.linalg.norm(before))
    return change / (norm + epsilon) if norm > 0 and math.isfinite(change + norm) else None


def _curve(curves: dict[str, dict[str, list[Any]]], name: str, columns: Sequence[str]) -> Any:
    if name not in curves and len(curves) < MAX_CURVES:
        curves[name] = {column: [] for column in columns}
    return curves.get(name)


def _json(value: float | None) -> float | None:
    """JSON has no NaN: null. Six significant digits draw the same picture."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def keep(values: Sequence[float | None], points: int = MAX_POINTS) -> list[int]:
    """Indices of at most `points` values that keep every stretch's smallest and largest."""
    count = len(values)
    if count <= points:
        return list(range(count))
    numbers = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    chosen = {0, count - 1}
    for part in np.array_split(np.arange(count), points // 2 - 1):
        stretch = numbers[part]
        if np.all(np.isnan(stretch)):
            chosen.add(int(part[0]))
        else:
            chosen.update((int(part[np.nanargmin(stretch)]), int(part[np.nanargmax(stretch)])))
    return sorted(chosen)


def _thin(curve: dict[str, list[Any]], by: str) -> dict[str, list[Any]]:
    indices = keep(curve[by])
    return {column: [values[index] for index in indices] for column, values in curve.items()}


def _step_times(profile: Profile) -> dict[str, list[Any]]:
    first = min((step.worker for step in profile.steps), default="")
    steps = [step for step in profile.steps if step.worker == first]
    steps = [steps[index] for index in keep([step.total for step in steps])]
    columns: dict[str, list[Any]] = {
        "step": [step.step for step in steps],
        "mode": [step.mode for step in steps],
        "total_ms": [step.total for step in steps],
    }
    for position, phase in enumerate(PHASES):
        columns[phase] = [step.phases[position] for step in steps]
    return columns


def _system(profile: Profile) -> dict[str, list[Any]]:
    samples = profile.timeline()
    samples = [samples[index] for index in keep([sample.cpu for sample in samples])]
    return {
        "time": [round(sample.time, 3) for sample in samples],
        "cpu": [_json(sample.cpu) for sample in samples],
        "memory": [_json(sample.memory) for sample in samples],
        "io_wait": [_json(io_wait(sample)) for sample in samples],
        "gpu": [_json(sample.gpu) for sample in samples],
        "gpu_memory": [
            _json(sum(sample.gpu_memory.values()) / len(sample.gpu_memory)) if sample.gpu_memory else None
            for sample in samples
        ],
        "network_receive": [_json(sample.received) for sample in samples],
        "network_transmit": [_json(sample.sent) for sample in samples],
        "disk_read": [_json(sample.disk_read) for sample in samples],
        "disk_write": [_json(sample.disk_written) for sample in samples],
        "gpu_power": [
            _json(sum(sample.gpu_power.values())) if sample.gpu_power else None for sample in samples
        ],
    }


def _cores(profile: Profile) -> dict[str, Any]:
    """Each core and each GPU of the first node over time, as means of at most CORE_POINTS stretches."""
    samples = profile.timeline()
    first = min((sample.node for sample in samples), default="")
    samples = [sample for sample in samples if sample.node == first]
    parts = [part for part in np.array_split(np.arange(len(samples)), CORE_POINTS) if part.size]
    units: dict[str, list[float | None]] = {}
    names = sorted({name for sample in samples for name in sample.cores}, key=_natural)[:MAX_CORES]
    gpus = sorted({name for sample in samples for name in sample.gpus}, key=_natural)[:MAX_CORES]
    for name in names:
        units[name] = [_mean_of([samples[index].cores.get(name) for index in part]) for part in parts]
    for name in gpus:
        units[name.rpartition("/")[2]] = [
            _mean_of([samples[index].gpus.get(name) for index in part]) for part in parts
        ]
    return {"time": [round(samples[part[0]].time, 3) for part in parts], "units": units}


def _natural(name: str) -> tuple[int, str]:
    """cpu2 before cpu10."""
    return (len(name), name)


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 1) if known else None
