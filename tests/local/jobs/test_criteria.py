"""When a tuning job has found enough."""

from __future__ import annotations

from typing import Any

import pytest

from local.jobs.criteria import Objectives, can_end


def after(*values: float, ranges: int = 1, maximize: bool = True) -> Objectives:
    objectives = Objectives(maximize, ranges)
    for value in values:
        objectives.add(value)
    return objectives


def test_less_than_one_per_cent_is_no_improvement() -> None:
    assert after(0.5, 0.504, 0.4).not_improving == 2
    assert after(0.5, 0.506).not_improving == 0
    assert after(0.5, 0.52, 0.51, maximize=False).not_improving == 2
    assert after(-1.0, -0.5).not_improving == 0
    assert after().not_improving == 0


def test_many_small_steps_add_up_to_an_improvement() -> None:
    assert after(0.5, 0.503, 0.506).not_improving == 0


def test_convergence_takes_more_trials_where_more_is_searched() -> None:
    flat = [0.9] * 11
    assert after(*flat, ranges=2).converged
    assert not after(*flat, ranges=4).converged
    assert not after(*flat[:10], ranges=2).converged


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
    assert after(*[0.9] * 11).satisfy(criteria) is expected
    assert not after().satisfy(criteria)


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
