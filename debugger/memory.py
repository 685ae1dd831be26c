"""What the debugger has seen, as text for a checkpoint: observations, step times, measurements.

Rules and curves are functions of the observations, in order. So a training that goes on shows the old ones
to new rules, and both parts are one story.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from debugger.observation import Change, Observation, Statistics
from debugger.profile import Profile, Sample, StepTime, Total

SCHEMA: Final = 2
MAX_STEPS: Final = 20_000
MAX_SAMPLES: Final = 1_000
_NUMBERS: Final = ("mean", "mean_abs", "norm", "variance", "minimum", "maximum")


@dataclass
class Memory:
    """What a checkpoint keeps of the debugger.

    Attributes:
        ranks: of each process, (step, loss) and (step, gradient norm), see `Series.add_rank`.
        interruptions: epoch seconds at which the training went on.
    """

    observations: list[Observation] = field(default_factory=list)
    profile: Profile = field(default_factory=Profile)
    ranks: dict[str, Any] = field(default_factory=dict)
    interruptions: list[float] = field(default_factory=list)


def pack(memory: Memory) -> bytes:
    """Compressed JSON."""
    profile = memory.profile
    samples = Profile(samples=dict(profile.samples))
    while len(samples.samples) > MAX_SAMPLES:
        samples.merge_samples()
    content = {
        "schema": SCHEMA,
        "observations": [_observation(item) for item in memory.observations],
        "steps": [
            [step.worker, step.step, step.mode, step.start, step.total, list(step.phases), step.cpu]
            for step in profile.steps[-MAX_STEPS:]
        ],
        "totals": {mode: asdict(total) for mode, total in profile.totals.items()},
        "samples": [asdict(sample) for sample in samples.timeline()],
        "started": profile.started,
        "operators": [profile.operators_from, profile.operators],
        "ranks": memory.ranks,
        "interruptions": memory.interruptions,
    }
    return zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 1)


def unpack(data: bytes) -> Memory:
    """What `pack` wrote. Raises ValueError for anything else."""
    try:
        content = json.loads(zlib.decompress(data))
        if content["schema"] != SCHEMA:
            raise ValueError(f"it has schema {content['schema']}")
        profile = Profile(
            steps=[
                StepTime(row[0], row[1], row[2], row[3], row[4], tuple(row[5]), row[6])
                for row in content["steps"]
            ],
            totals={mode: Total(**total) for mode, total in content["totals"].items()},
            started=content["started"],
            operators_from=content["operators"][0],
            operators=content["operators"][1],
        )
        for raw in content["samples"]:
            sample = Sample(**raw)
            profile.samples[profile.key(sample.node, sample.time)] = sample
        return Memory(
            observations=[_restored(item) for item in content["observations"]],
            profile=profile,
            ranks=content["ranks"],
            interruptions=content["interruptions"],
        )
    except (zlib.error, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"the debugger's memory cannot be read: {error}") from error


def _observation(item: Observation) -> list[Any]:
    return [
        item.step,
        item.mode,
        item.worker,
        item.pictures,
        item.right,
        {name: _statistics(value) for name, value in item.tensors.items()},
        {name: sorted(members) for name, members in item.collections.items()},
        sorted(item.configured),
    ]


def _statistics(value: Statistics) -> dict[str, Any]:
    """What is known of a tensor; JSON keeps a float exactly."""
    compact: dict[str, Any] = {"size": value.size}
    for name in ("nan", "infinite"):
        if count := getattr(value, name):
            compact[name] = count
    for name in _NUMBERS:
        if (number := getattr(value, name)) is not None:
            compact[name] = number
    if value.span is not None:
        compact["span"] = value.span
    if value.active is not None:
        compact["active"] = value.active.tolist()
    if value.change is not None:
        compact["change"] = [value.change.norm, value.change.before, value.change.step]
    if value.values is not None:
        compact["values"] = [value.values.dtype.kind, value.values.tolist()]
    return compact


def _restored(raw: Iterable[Any]) -> Observation:
    step, mode, worker, pictures, right, tensors, collections, configured = raw
    return Observation(
        step=step,
        mode=mode,
        worker=worker,
        pictures=pictures,
        right=right,
        tensors={name: _tensor(dict(value)) for name, value in tensors.items()},
        collections={name: frozenset(members) for name, members in collections.items()},
        configured=frozenset(configured),
    )


def _tensor(raw: dict[str, Any]) -> Statistics:
    if "span" in raw:
        raw["span"] = tuple(raw["span"])
    if "active" in raw:
        raw["active"] = np.array(raw["active"], dtype=np.float64)
    if "change" in raw:
        raw["change"] = Change(*raw["change"])
    if "values" in raw:
        kind, values = raw["values"]
        raw["values"] = np.array(values, dtype=np.int64 if kind in "iu" else np.float64)
    return Statistics(**raw)
