"""Values of a training job's metrics over time, found in its log by its MetricDefinitions.

The log is all that is kept of them, so they are there as long as it is, and after a restart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from contract.metrics import compiled
from contract.names import TRAINING_LOGS
from local import logstreams
from local.config import Config
from local.jobs.metrics import values_in

NAMESPACE = "/aws/sagemaker/TrainingJobs"
DIMENSION = "TrainingJobName"


class Point(NamedTuple):
    """A value and when it was printed, in epoch seconds."""

    time: float
    value: float


def points(config: Config, job: Mapping[str, Any], metric: str, start: float, end: float) -> Iterator[Point]:
    """What a described job has printed of a metric, from `start` until before `end`; its hosts in turn."""
    patterns = _patterns(job, metric)
    if not patterns:
        return
    folder = f"{job['TrainingJobName']}/"
    for stream in logstreams.streams(config, TRAINING_LOGS):
        if not stream.name.startswith(folder):
            continue
        for event in stream.forward(stream.seek(math.floor(start * 1000))):
            if event.time >= end * 1000:
                break
            for pattern in patterns:
                yield from (Point(event.time / 1000, value) for value in values_in(pattern, event.text))


def _patterns(job: Mapping[str, Any], metric: str) -> list[re.Pattern[str]]:
    definitions = job.get("AlgorithmSpecification", {}).get("MetricDefinitions", [])
    return [compiled(each["Regex"]) for each in definitions if each["Name"] == metric]


def periods(
    values: Iterator[Point] | Sequence[Point], origin: float, period: int
) -> Mapping[float, list[float]]:
    """Values by the beginning of their period, in the order of time; one period begins at `origin`."""
    by_period: dict[float, list[float]] = {}
    for point in values:
        begin = origin + (point.time - origin) // period * period
        by_period.setdefault(begin, []).append(point.value)
    return dict(sorted(by_period.items()))


def statistic(name: str, values: Sequence[float]) -> float | None:
    """A statistic by CloudWatch's name (Average, Sum, …, p90); None for a percentile of negative values."""
    if name == "SampleCount":
        return float(len(values))
    if name == "Sum":
        return math.fsum(values)
    if name == "Average":
        return math.fsum(values) / len(values)
    if name in ("Minimum", "Maximum"):
        return min(values) if name == "Minimum" else max(values)
    return None if min(values) < 0 else _percentile(float(name[1:]), sorted(values))


def _percentile(share: float, ordered: Sequence[float]) -> float:
    """Between the two nearest values."""
    place = share / 100 * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
