"""series.json: the curves that the report draws, thinned so that the file stays small."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from debugger.observation import FIRST_WORKER, Observation, kind_of
from debugger.profile import PHASES, Profile, io_wait

SCHEMA = 1
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
        self._ranks: dict[str, dict[str, list[Any]]] = {}
        self.interruptions: list[float] = []  # epoch seconds at which the training went on after one
        self._last_step = -1

    def observe(self, step: Observation) -> None:
        """Add a step. Of several workers the first one is drawn."""
        if step.mode in ("TRAIN", "GLOBAL"):
            self._last_step = max(self._last_step, step.step)
        if step.worker != FIRST_WORKER:
            return
        for name, value in step.losses().items():
            losses = self._losses.setdefault(name, {}).setdefault(step.mode, {"step": [], "value": []})
            _append(losses, step.step, value=value)
        if step.mode not in ("TRAIN", "GLOBAL"):
            return
        for name, tensor in step.tensors.items():
            kind = kind_of(name)
            if kind == "gradient":
                curve = _curve(self._gradients, name.removeprefix("gradient/"), ("step", "norm", "mean_abs"))
                _append(curve, step.step, norm=tensor.norm, mean_abs=tensor.mean_abs)
            elif kind == "weight":
                curve = _curve(self._weights, name, ("step", "norm", "update_ratio"))
                ratio = tensor.change.ratio() if tensor.change is not None else None
                _append(curve, step.step, norm=tensor.norm, update_ratio=ratio)
            elif (
                kind == "output"
                and tensor.active is not None
                and tensor.active.size
                and "relu" in name.lower()
            ):
                curve = _curve(self._activations, name, ("step", "active_share"))
                _append(curve, step.step, active_share=float(tensor.active.mean()))

    def add_rank(
        self, rank: int, losses: Iterable[tuple[int, float]], norms: Iterable[tuple[int, float]]
    ) -> None:
        """Add what one of several processes computed on its own share of the batches, as (step, value)."""
        columns = self._ranks.setdefault(
            str(rank), {"step": [], "loss": [], "gradient_step": [], "gradient_norm": []}
        )
        for prefix, name, pairs in (("", "loss", losses), ("gradient_", "gradient_norm", norms)):
            for step, value in pairs:
                columns[f"{prefix}step"].append(step)
                columns[name].append(_json(value))

    def to_dict(self, profile: Profile, *, complete: bool) -> dict[str, Any]:
        """The document."""
        return {
            "schema": SCHEMA,
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
            "ranks": {rank: _thin_rank(columns) for rank, columns in self._ranks.items()},
            "interruptions": self.interruptions,
        }


def _curve(
    curves: dict[str, dict[str, list[Any]]], name: str, columns: Sequence[str]
) -> dict[str, list[Any]] | None:
    if name not in curves and len(curves) < MAX_CURVES:
        curves[name] = {column: [] for column in columns}
    return curves.get(name)


def _append(curve: dict[str, list[Any]] | None, step: int, **values: float | None) -> None:
    if curve is not None:
        curve["step"].append(step)
        for name, value in values.items():
            curve[name].append(_json(value))


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


def _thin_rank(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    loss = _thin({"step": columns["step"], "loss": columns["loss"]}, "loss")
    norm = {"gradient_step": columns["gradient_step"], "gradient_norm": columns["gradient_norm"]}
    return {**loss, **_thin(norm, "gradient_norm")}


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
    numbers = [value for value in values if value is not None]
    return round(sum(numbers) / len(numbers), 1) if numbers else None
