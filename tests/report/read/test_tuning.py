"""Tuning jobs: their trials, the best of them, and what their logs say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from contract.errors import ByocError
from contract.findings import Outcome, VerdictLine, format_line
from report.pages.tuning import rules, tuning_page
from report.read import tuning
from report.read.tuning import LOGS_LIMIT
from tests.report.read.test_inputs import Logs


def tuning_clients(best: str, trials: list[dict[str, Any]], status: str = "Completed") -> Any:
    described = {
        "HyperParameterTuningJobStatus": status,
        "HyperParameterTuningJobConfig": {
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:accuracy"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 4},
        },
        **({"BestTrainingJob": {"TrainingJobName": best}} if best else {}),
    }
    pages = SimpleNamespace(paginate=lambda **_: [{"TrainingJobSummaries": trials}])
    return SimpleNamespace(
        sagemaker=SimpleNamespace(
            describe_hyper_parameter_tuning_job=lambda **_: described, get_paginator=lambda _: pages
        )
    )


def trial(name: str, value: float | None, **more: Any) -> dict[str, Any]:
    metric = {} if value is None else {"FinalHyperParameterTuningJobObjectiveMetric": {"Value": value}}
    return {
        "TrainingJobName": name,
        "TrainingJobStatus": "Completed",
        "TunedHyperParameters": {"lr": "0.1", "batch_size": "16"},
        **metric,
        **more,
    }


def test_the_best_is_what_sagemaker_calls_the_best() -> None:
    clients = tuning_clients("b", [trial("a", 0.5), trial("b", 0.9), trial("c", None)])
    found = tuning.best(clients, "t")
    assert found["training_job"] == "b"
    assert found["hyperparameters"] == {"batch_size": "16", "lr": "0.1"}
    assert found["value"] == 0.9
    assert found["complete"]


def test_a_running_trial_says_how_far_it_is() -> None:
    began = datetime.now(UTC) - timedelta(seconds=60)
    told = {"MetricName": "epoch", "Value": 2.0, "Timestamp": began + timedelta(seconds=40)}
    described = {
        "HyperParameters": {"epochs": "8"},
        "FinalMetricDataList": [told, {"MetricName": "validation:accuracy", "Value": 0.7}],
    }
    running = [trial(name, None, TrainingJobStatus="InProgress") for name in ("a", "b", "c")]
    clients = tuning_clients("", [*running, trial("d", 0.5)], "InProgress")
    clients.sagemaker.describe_training_job = lambda TrainingJobName: {
        "a": {**described, "TrainingStartTime": began},
        "b": {**described, "TrainingStartTime": began, "FinalMetricDataList": []},
        "c": described,
    }[TrainingJobName]
    far, *others = tuning.with_progress(clients, tuning.look(clients, "t")).trials
    assert far.progress is not None
    assert (far.progress.epoch, far.progress.epochs, far.progress.latest) == (2, 8, 0.7)
    # 20 s an epoch, and 20 s of the third are over.
    assert far.progress.seconds_left == pytest.approx(100, abs=5)
    assert far.as_dict()["epoch"] == 2
    assert [other.progress for other in others] == [None, None, None]


def test_where_no_tuning_job_is_named_it_is_the_newest_with_a_result() -> None:
    best = {"failed": "", "flowers-tune-1": "a", "flowers-tune-2": "b", "garden-flowers-tune-1": "c"}
    best |= {"flowers-of-the-me-1": "d", "flowers-wild-tune-1": "e"}
    listed: dict[str, Any] = {}

    def newest(**query: Any) -> list[dict[str, Any]]:
        listed.update(query)
        foreign = [f"garden-flowers-tune-{number}" for number in range(20)]
        own = ["failed", "flowers-tune-3", "flowers-tune-2", "flowers-tune-1", "flowers-of-the-me-1"]
        return [
            {"HyperParameterTuningJobSummaries": [{"HyperParameterTuningJobName": name} for name in names]}
            for names in (foreign, ["flowers-wild-tune-1", *own])
        ]

    clients = tuning_clients("", [])
    described = clients.sagemaker.describe_hyper_parameter_tuning_job()
    clients.sagemaker.get_paginator = lambda _: SimpleNamespace(paginate=newest)
    clients.sagemaker.describe_hyper_parameter_tuning_job = lambda HyperParameterTuningJobName: {
        **described, "BestTrainingJob": {"TrainingJobName": best.get(HyperParameterTuningJobName, "")}
    }  # fmt: skip
    assert tuning.with_result(clients, "flowers-tune-1", "flowers") == "flowers-tune-1"
    assert listed == {}
    assert tuning.with_result(clients, "failed", "flowers") == "flowers-tune-2"
    assert listed["NameContains"] == "flowers-tune"
    assert tuning.with_result(clients, "failed", "flowers-of-the-meadow") == "flowers-of-the-me-1"
    assert listed["NameContains"] == "flowers-of-the-me"
    best.clear()
    assert tuning.with_result(clients, "failed", "flowers") == "failed"


def test_no_best_says_why() -> None:
    failed = trial("a", None, TrainingJobStatus="Failed", FailureReason="AlgorithmError: lr is bad")
    with pytest.raises(ByocError, match=r"a failed: AlgorithmError: lr is bad"):
        tuning.best(tuning_clients("", [failed]), "t")
    with pytest.raises(ByocError, match="no completed trial yet"):
        tuning.best(tuning_clients("", [], "InProgress"), "t")


@pytest.mark.parametrize("count", [3, LOGS_LIMIT, LOGS_LIMIT + 1])
def test_the_logs_of_a_tuning_job_are_read_up_to_a_number_of_trials(count: int) -> None:
    statuses = ["Completed", "InProgress", *["Completed"] * (count - 2)]
    summaries = [
        {"TrainingJobName": f"trial-{place}", "TrainingJobStatus": status}
        for place, status in enumerate(statuses)
    ]
    verdict = format_line(VerdictLine("Overfit", Outcome.ISSUES_FOUND, "It overfits.", 1))
    logs = Logs({f"trial-{place}/algo-1-1": [verdict] for place in range(count)})
    sagemaker = SimpleNamespace(
        describe_hyper_parameter_tuning_job=lambda **_: {"HyperParameterTuningJobStatus": "Completed"},
        get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [{"TrainingJobSummaries": summaries}]),
    )
    reader: Any = SimpleNamespace(sagemaker=sagemaker, logs=logs, s3=None)
    job = tuning.with_findings(reader, tuning.look(reader, "tune"))
    assert len(job.trials) == count
    if count > LOGS_LIMIT:
        assert not logs.asked
        assert "more than 50 trials" in tuning_page(job)
        return
    assert len(logs.asked) == count - 1
    assert rules(job.trials[0]) == "Issues found: Overfit."
    assert rules(job.trials[1]) == ""
    assert "is left out" not in tuning_page(job)


def test_trials_are_the_same_for_a_command_and_for_the_report() -> None:
    quoted = trial("a", None, TunedHyperParameters={"optimizer": '"sgd"', "lr": "0.1"})
    job = tuning.look(tuning_clients("", [quoted], "InProgress"), "t")
    assert job.trials[0].tuned == {"lr": "0.1", "optimizer": "sgd"}
    assert job.trials[0].as_dict() == {
        "name": "a", "status": "Completed", "hyperparameters": {"lr": "0.1", "optimizer": '"sgd"'},
        "objective": None, "reason": "", "seconds": None, "epoch": None,
    }  # fmt: skip
