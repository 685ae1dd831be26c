"""Metrics found in a job's output by the MetricDefinitions' regular expressions."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Mapping, Sequence
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_INTERVAL = 0.5  # seconds between two writes of a running job's metrics
_MAX_LINE = 4096  # characters of a line that are searched
_FEW = 4  # repeats of a part that cannot do harm
# Java's possessive-free subset is Python's, except for named groups and a few classes.
_NAMED_GROUP = re.compile(r"\(\?<(?=[A-Za-z])")


def compiled(regex: str) -> re.Pattern[str]:
    """A MetricDefinition's Regex, which is written for Java. re.error if it is none."""
    return re.compile(_NAMED_GROUP.sub("(?P<", regex))


def is_explosive(regex: str) -> bool:
    """Whether some line may keep the regex busy for ever: it repeats a part that itself has several lengths.

    Python's `re` tries all ways to divide a line among such repeats, and nothing can interrupt it.
    """
    return _varies_repeatedly(parser.parse(_NAMED_GROUP.sub("(?P<", regex)), repeated=False)


def _varies_repeatedly(tree: Any, *, repeated: bool) -> bool:
    for code, argument in tree:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            low, high, body = argument
            if repeated and low != high:
                return True
            inner = [(body, repeated or high > _FEW)]
        elif code is codes.BRANCH:
            if repeated:
                return True
            inner = [(branch, repeated) for branch in argument[1]]
        elif code is codes.SUBPATTERN:
            inner = [(argument[3], repeated)]
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            inner = [(argument[1], repeated)]
        elif code is codes.ATOMIC_GROUP:
            inner = [(argument, repeated)]
        elif code is codes.GROUPREF_EXISTS:
            inner = [(branch, repeated) for branch in argument[1:] if branch is not None]
        else:
            continue
        if any(_varies_repeatedly(body, repeated=again) for body, again in inner):
            return True
    return False


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

    def read(self, line: str) -> list[str]:
        """Takes a line of output; the names of the metrics that it holds (finite values only)."""
        found = []
        for name, pattern in self._patterns:
            for match in pattern.finditer(line[:_MAX_LINE]):
                try:
                    value = float(match.group(1))
                except (TypeError, ValueError):
                    continue
                if not math.isfinite(value):
                    continue  # CloudWatch takes no NaN and no infinity
                with self._lock:
                    self._series.setdefault(name, []).append(value)
                    self._latest[name] = (value, time.time())
                    self._dirty = True
                found.append(name)
        return found

    def series(self, name: str) -> list[float]:
        with self._lock:
            return list(self._series.get(name, ()))

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
