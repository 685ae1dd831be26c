"""When a tuning job has found enough: its objectives in their order, and TuningJobCompletionCriteria."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SIGNIFICANT = 0.01  # AWS's: a better objective is an improvement from 1 % on
_PATIENCE = 10  # AWS does not say when a job has converged; this is ours, or three times its ranges


@dataclass
class Objectives:
    """What the trials have reached, in the order in which they ended. `ranges`: how many are searched.

    `not_improving`: trials since the last one that improved the best by 1 % or more.
    """

    maximize: bool
    ranges: int
    best: float | None = None
    not_improving: int = 0
    _improved: float | None = None

    def add(self, value: float) -> None:
        sign = 1 if self.maximize else -1
        if self.best is None or (value - self.best) * sign > 0:
            self.best = value
        then = self._improved
        gain = 0.0 if then is None else (value - then) * sign
        if then is None or (gain > 0 and gain >= _SIGNIFICANT * abs(then)):
            self._improved, self.not_improving = value, 0
        else:
            self.not_improving += 1

    @property
    def converged(self) -> bool:
        """Whether the objectives have stopped improving: for 10 trials, or 3 for each of the ranges."""
        return self.best is not None and self.not_improving >= max(_PATIENCE, 3 * self.ranges)

    def satisfy(self, criteria: Mapping[str, Any]) -> bool:
        """Whether one of the criteria is met."""
        if self.best is None:
            return False
        target = criteria.get("TargetObjectiveMetricValue")
        if target is not None and (self.best >= target if self.maximize else self.best <= target):
            return True
        patience = criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
        if patience is not None and self.not_improving >= patience:
            return True
        return _wants_convergence(criteria) and self.converged


def can_end(criteria: Mapping[str, Any]) -> bool:
    """Whether there is a criterion that may end a tuning job."""
    return (
        "TargetObjectiveMetricValue" in criteria
        or "MaxNumberOfTrainingJobsNotImproving" in criteria.get("BestObjectiveNotImproving", {})
        or _wants_convergence(criteria)
    )


def _wants_convergence(criteria: Mapping[str, Any]) -> bool:
    return bool(criteria.get("ConvergenceDetected", {}).get("CompleteOnConvergence") == "Enabled")
