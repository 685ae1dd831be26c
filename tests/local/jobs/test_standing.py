"""How a tuning job stands."""

from __future__ import annotations

import time
from typing import Any

from local.jobs.standing import Standing


def child(name: str, status: str = "Completed") -> dict[str, Any]:
    return {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:{name}",
        "CreationTime": 1.0,
        "TrainingJobStatus": status,
    }


def best(standing: Standing) -> Any:
    return standing.best and standing.best["TrainingJobName"]


def test_trials_are_counted_as_they_start_and_end() -> None:
    standing = Standing(maximize=True, ranges=1)
    assert standing.members()["TrainingJobStatusCounters"]["InProgress"] == 0
    numbers = [standing.start() for _ in range(4)]
    assert numbers == [1, 2, 3, 4]
    standing.end(2, child("b"), 0.5)
    standing.end(1, child("a", "Failed"), None)
    standing.end(3, child("c", "Stopped"), 0.4)
    members = standing.members()
    assert members["TrainingJobStatusCounters"] == {
        "Completed": 1, "InProgress": 1, "RetryableError": 0, "NonRetryableError": 1, "Stopped": 1,
    }  # fmt: skip
    assert members["ObjectiveStatusCounters"] == {"Succeeded": 2, "Pending": 1, "Failed": 1}
    assert members["TuningJobCompletionDetails"] == {"NumberOfTrainingJobsObjectiveNotImproving": 1}
    assert best(standing) == "b"


def test_of_equals_the_one_that_was_started_first_is_the_best() -> None:
    for maximize, others in ((True, 0.1), (False, 0.9)):
        standing = Standing(maximize=maximize, ranges=1)
        for number, value in ((3, 0.5), (2, 0.5), (4, 0.5), (1, others)):
            standing.end(number, child(str(number)), value)
        assert best(standing) == "2"


def test_ten_thousand_trials_take_a_moment() -> None:
    standing = Standing(maximize=True, ranges=1)
    began = time.process_time()
    for _ in range(10_000):
        number = standing.start()
        standing.members()
        standing.end(number, child(str(number)), number / 10_000)
        standing.members()
    assert time.process_time() - began < 2
    assert best(standing) == "10000"
