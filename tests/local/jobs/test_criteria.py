"""When a tuning job has found enough."""

from __future__ import annotations

from typing import Any

import pytest

from local.jobs.criteria import can_end, converged, not_improving, satisfied


def test_less_than_one_per_cent_is_no_improvement() -> None:
    assert not_improving([0.5, 0.504, 0.4], maximize=True) == 2
    assert not_improving([0.5, 0.506], maximize=True) == 0
    assert not_improving([0.5, 0.52, 0.51], maximize=False) == 2
    assert not_improving([-1.0, -0.5], maximize=True) == 0
    assert not_improving([], maximize=True) == 0


def test_many_small_steps_add_up_to_an_improvement() -> None:
    assert not_improving([0.5, 0.503, 0.506], maximize=True) == 0


def test_convergence_takes_more_trials_where_more_is_searched() -> None:
    flat = [0.9] * 11
    assert converged(flat, 2, maximize=True)
    assert not converged(flat, 4, maximize=True)
    assert not converged(flat[:10], 2, maximize=True)


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({}, False),
        ({"TargetObjectiveMetricValue": 0.9}, True),
        ({"TargetObjectiveMetricValue": 0.95}, False),
        ({"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 10}}, True),
        ({"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 11}}, False),
        ({"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}, True),
        ({"ConvergenceDetected": {"CompleteOnConvergence": "Disabled"}}, False),
    ],
)
def test_one_criterion_is_enough(criteria: dict[str, Any], expected: bool) -> None:
    assert satisfied(criteria, [0.9] * 11, 1, maximize=True) is expected
    assert not satisfied(criteria, [], 1, maximize=True)


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({}, False),
        ({"BestObjectiveNotImproving": {}}, False),
        ({"ConvergenceDetected": {"CompleteOnConvergence": "Disabled"}}, False),
        ({"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}, True),
        ({"TargetObjectiveMetricValue": 0.0}, True),
        ({"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}}, True),
    ],
)
def test_criteria_that_never_end_a_job_are_none(criteria: dict[str, Any], expected: bool) -> None:
    assert can_end(criteria) is expected
