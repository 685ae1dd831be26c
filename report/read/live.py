"""A training job while it runs, for those who look on: what changed since they last looked."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from contract.names import TRAINING_LOGS
from report.read import jobs
from report.read.aws import Clients
from report.read.jobs import UNDER_WAY
from report.read.logs import LogTail
from report.read.metrics import LogReader
from report.read.values import mapping

LINES: Final = 2_000
"""Lines of the log that are kept for showing; all of them are read."""


class LiveTraining:
    """What several readers share: one asks AWS for all of them.

    Attributes:
        version: grows with every change but those of the log's lines.
        job: the description, empty before the first look.
        lines: the last lines that a person may want to read; `count` of them came in all.
    """

    def __init__(self, clients: Clients, name: str, *, shortest: float = 0.4) -> None:
        """`shortest`: seconds between two looks, however many look on."""
        self.name = name
        self.version = 0
        self.job: Mapping[str, Any] = {}
        self.lines: deque[str] = deque(maxlen=LINES)
        self.count = 0
        self.over = False
        self._clients = clients
        self._tail = LogTail(clients, TRAINING_LOGS, f"{name}/")
        self._reader: LogReader | None = None
        self._lock = threading.Lock()
        self._looked, self._shortest = 0.0, shortest
        self._ended_at = 0.0

    @property
    def reader(self) -> LogReader:
        """What the log says so far."""
        assert self._reader is not None, "look first"
        return self._reader

    @property
    def ended(self) -> bool:
        return bool(self.job) and self.job["TrainingJobStatus"] not in UNDER_WAY

    def look(self) -> None:
        """Read what is new.

        Raises:
            ByocError: there is no such job (NOT_FOUND).
        """
        with self._lock:
            if self.over or time.monotonic() - self._looked < self._shortest:
                return
            try:
                self._look()
            finally:
                self._looked = time.monotonic()

    def _look(self) -> None:
        job = jobs.describe(self._clients, self.name)
        if self._reader is None:
            specification = mapping(job.get("AlgorithmSpecification"))
            listed = specification.get("MetricDefinitions", [])
            self._reader = LogReader((str(item["Name"]), str(item["Regex"])) for item in listed)
        if _state(job) != _state(self.job):
            self.version += 1
        self.job, before = job, self._reader.log.lines
        try:
            # After the status: of a job that has ended, it is the whole log. What was read counts even where
            # the connection breaks off: it is not read again.
            for line in self._tail.read():
                shown = self._reader.take(line)
                self.lines.extend(shown)
                self.count += len(shown)
        finally:
            self.version += self._reader.log.lines > before
        if self.ended:
            self._ended_at = self._ended_at or time.monotonic()
            self.over = time.monotonic() - self._ended_at >= self._clients.log_lag

    def lines_since(self, count: int) -> list[str]:
        """The lines after the first `count`, as far as they are kept."""
        with self._lock:
            new = min(self.count - count, len(self.lines))
            return list(self.lines)[len(self.lines) - new :] if new > 0 else []


def _state(job: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes a description another one: its times of change do not."""
    return (
        job.get("TrainingJobStatus"),
        job.get("SecondaryStatus"),
        len(job.get("SecondaryStatusTransitions", ())),
        repr(job.get("DebugRuleEvaluationStatuses")),
    )
