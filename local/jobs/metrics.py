"""Metrics found in a job's output by the MetricDefinitions' regular expressions."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contract.metrics import compiled

_INTERVAL = 0.5  # seconds between two writes of a running job's metrics
_MAX_LINE = 4096  # characters of a line that are searched


def values_in(pattern: re.Pattern[str], line: str) -> Iterator[float]:
    """The finite values that a metric's expression finds in a line."""
    for match in pattern.finditer(line[:_MAX_LINE]):
        try:
            value = float(match.group(1))
        except (TypeError, ValueError):
            continue
        if math.isfinite(value):  # CloudWatch takes no NaN and no infinity
            yield value


class MetricReader:
    """Reads lines, remembers each metric's values. One thread feeds it, any thread asks."""

    def __init__(self, definitions: Sequence[Mapping[str, str]]) -> None:
        self.problems: list[str] = []
        self._patterns: list[tuple[str, re.Pattern[str]]] = []
        for definition in definitions:
            name, text = definition["Name"], definition["Regex"]
            try:
                pattern = compiled(text)
            except re.error as error:
                self.problems.append(f"metric {name!r}: the regular expression {text!r} is invalid: {error}")
                continue
            if not pattern.groups:
                self.problems.append(
                    f"metric {name!r}: the regular expression {text!r} has no group for the value"
                )
                continue
            self._patterns.append((name, pattern))
        self._lock = threading.Lock()
        self._series: dict[str, list[float]] = {}
        self._latest: dict[str, tuple[float, float]] = {}
        self._written = 0.0
        self._dirty = False

    def read(self, line: str, *, leaving: bool = False) -> list[str]:
        """Takes a line of output; the names of the metrics that it holds (finite values only).

        `leaving`: the machine is being taken away. What a job logs then repeats earlier results: it is the
        latest value, and does not count as a value of an epoch.
        """
        names = []
        for name, pattern in self._patterns:
            for value in values_in(pattern, line):
                with self._lock:
                    if not leaving:
                        self._series.setdefault(name, []).append(value)
                    self._latest[name] = (value, time.time())
                    self._dirty = True
                names.append(name)
        return names

    def start_again(self) -> None:
        """Forgets the series: the job begins with its first epoch again."""
        with self._lock:
            self._series.clear()

    def series(self, name: str) -> list[float]:
        with self._lock:
            return list(self._series.get(name, ()))

    def latest(self, name: str) -> float | None:
        """The last value of all, also of an earlier attempt."""
        with self._lock:
            return self._latest[name][0] if name in self._latest else None

    def due(self) -> bool:
        """Whether there is something new to write, and enough time has passed since the last write."""
        with self._lock:
            return self._dirty and time.monotonic() - self._written >= _INTERVAL

    def final_metrics(self) -> list[dict[str, Any]]:
        """FinalMetricDataList: the last value of each metric, in the order of the definitions."""
        with self._lock:
            self._dirty = False
            self._written = time.monotonic()
            return [
                {"MetricName": name, "Value": self._latest[name][0], "Timestamp": self._latest[name][1]}
                for name in dict.fromkeys(name for name, _ in self._patterns)
                if name in self._latest
            ]
