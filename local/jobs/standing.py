"""How a tuning job stands: counters of its training jobs, the best of them, what its criteria say.

Each trial changes it once when it starts and once when it ends, whatever their number.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from local.jobs.criteria import Objectives
from local.jobs.documents import Document, tuning_summary


class Standing:
    """`maximize`: whether more is better. `ranges`: the most that a definition has."""

    def __init__(self, *, maximize: bool, ranges: int) -> None:
        self.objectives = Objectives(maximize, ranges)
        self.started = 0
        self.best: Document | None = None
        """The best training job's summary: of equals, the one that was started first."""
        self._statuses: Counter[str] = Counter()  # of those that have ended
        self._valued = 0
        self._best_at = (0.0, 0)  # objective (more is better), and when it was started
        self._converged: float | None = None  # when

    @property
    def ended(self) -> int:
        return self._statuses.total()

    @property
    def running(self) -> int:
        return self.started - self.ended

    def start(self) -> int:
        """A trial begins; its number, from 1."""
        self.started += 1
        return self.started

    def end(self, number: int, doc: Document, value: float | None) -> None:
        """A trial is over. `doc`: its last document; `value`: its objective, None if it has none."""
        self._statuses[doc["TrainingJobStatus"]] += 1
        if value is None:
            return
        self._valued += 1
        self.objectives.add(value)
        place = (value if self.objectives.maximize else -value, -number)
        if self.best is None or place > self._best_at:
            self.best, self._best_at = tuning_summary(doc), place
        if self._converged is None and self.objectives.converged:
            self._converged = time.time()

    def members(self) -> dict[str, Any]:
        """Of the tuning job's document."""
        members: dict[str, Any] = {
            "TrainingJobStatusCounters": {
                "Completed": self._statuses["Completed"],
                "InProgress": self.running,
                "RetryableError": 0,
                "NonRetryableError": self._statuses["Failed"],
                "Stopped": self._statuses["Stopped"],
            },
            "ObjectiveStatusCounters": {
                "Succeeded": self._valued,
                "Pending": self.running,
                "Failed": self.ended - self._valued,
            },
            "TuningJobCompletionDetails": {},
        }
        if self.best is not None:
            members["BestTrainingJob"] = self.best
            details = members["TuningJobCompletionDetails"]
            details["NumberOfTrainingJobsObjectiveNotImproving"] = self.objectives.not_improving
            if self._converged is not None:
                details["ConvergenceDetectedTime"] = self._converged
        return members
