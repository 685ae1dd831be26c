"""When a tuning job has found enough: TuningJobCompletionCriteria, over its objectives in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SIGNIFICANT = 0.01  # AWS's: a better objective is an improvement from 1 % on
_PATIENCE = 10  # AWS does not say when a job has converged; this is ours, or three times its ranges


def not_improving(values: Sequence[float], *, maximize: bool) -> int:
    """How many trials have ended since the last one that improved the best by 1 % or more."""
    best, since = None, 0
    for value in values:
        gain = 0.0 if best is None else (value - best) * (1 if maximize else -1)
        if best is None or (gain > 0 and gain >= _SIGNIFICANT * abs(best)):
            best, since = value, 0
        else:
            since += 1
    return since


def converged(values: Sequence[float], ranges: int, *, maximize: bool) -> bool:
    """Whether the objectives have stopped improving: for 10 trials, or 3 for each of the ranges."""
    return not_improving(values, maximize=maximize) >= max(_PATIENCE, 3 * ranges)


def can_end(criteria: Mapping[str, Any]) -> bool:
    """Whether there is a criterion that may end a tuning job."""
    return (
        "TargetObjectiveMetricValue" in criteria
        or "MaxNumberOfTrainingJobsNotImproving" in criteria.get("BestObjectiveNotImproving", {})
        or _wants_convergence(criteria)
    )


def _wants_convergence(criteria: Mapping[str, Any]) -> bool:
    return bool(criteria.get("ConvergenceDetected", {}).get("CompleteOnConvergence") == "Enabled")


def satisfied(criteria: Mapping[str, Any], values: Sequence[float], ranges: int, *, maximize: bool) -> bool:
    """Whether one of the criteria is met."""
    if not values:
        return False
    target = criteria.get("TargetObjectiveMetricValue")
    best = max(values) if maximize else min(values)
    if target is not None and (best >= target if maximize else best <= target):
        return True
    patience = criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
    if patience is not None and not_improving(values, maximize=maximize) >= patience:
        return True
    return _wants_convergence(criteria) and converged(values, ranges, maximize=maximize)
