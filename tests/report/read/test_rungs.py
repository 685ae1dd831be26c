"""After how many epochs Hyperband stopped trials, and what that saved."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from report.pages.tuning import tuning_page
from report.read import rungs
from report.read.trials import Trial
from report.read.tuning import LOGS_LIMIT, TuningJob

OBJECTIVE = {"MetricName": "validation:accuracy", "Type": "Maximize"}


def job(*trials: Trial, strategy: str = "Hyperband", **described: Any) -> TuningJob:
    config = {
        "Strategy": strategy,
        "HyperParameterTuningJobObjective": OBJECTIVE,
        "StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 9}},
    }
    return TuningJob("t", {"HyperParameterTuningJobConfig": config, **described}, trials)


def trial(number: int, objective: float, status: str = "Stopped") -> Trial:
    return Trial(f"t-{number}", number, status, objective, {"lr": "0.1"})


def clients(epochs: dict[str, int]) -> Any:
    def describe(TrainingJobName: str) -> dict[str, Any]:
        metrics = [{"MetricName": "epoch", "Value": float(epochs[TrainingJobName])}]
        return {"FinalMetricDataList": metrics if epochs[TrainingJobName] else []}

    return SimpleNamespace(sagemaker=SimpleNamespace(describe_training_job=describe))


TRIALS = (
    trial(1, 0.5), trial(2, 0.9, "Completed"), trial(3, 0.6), trial(4, 0.7), trial(5, math.nan, "Failed"),
    trial(6, math.nan, "InProgress"),
)  # fmt: skip


def test_trials_are_gathered_by_the_epochs_that_they_ran() -> None:
    found = rungs.read(clients({"t-1": 1, "t-2": 9, "t-3": 1, "t-4": 3, "t-5": 0}), job(*TRIALS))
    assert found is not None
    assert [(rung.epochs, [trial.number for trial in rung.trials]) for rung in found.rungs] == [
        (1, [1, 3]), (3, [4]), (9, [2]),
    ]  # fmt: skip
    assert [rung.best.number if rung.best else None for rung in found.rungs] == [3, 4, 2]
    assert (found.epochs, found.trials, found.most) == (14, 4, 9)
    assert found.sentence == (
        "Hyperband ran 14 of 36 epochs (61 % saved): 2 trials ended after 1, 1 after 3, 1 after all 9."
    )


def test_there_are_none_without_hyperband_without_epochs_or_with_too_many_trials() -> None:
    assert rungs.read(clients({}), job(*TRIALS, strategy="Bayesian")) is None
    nothing = clients(dict.fromkeys(["t-1", "t-2", "t-3", "t-4", "t-5"], 0))
    assert rungs.read(nothing, job(*TRIALS)) is None
    assert rungs.read(clients({}), job(*(trial(number, 0.5) for number in range(LOGS_LIMIT + 1)))) is None


def test_the_page_shows_rungs_parents_and_which_differences_are_noise() -> None:
    warm = {
        "BestTrainingJob": {"TrainingJobName": "t-2"},
        "WarmStartConfig": {
            "WarmStartType": "IdenticalDataAndAlgorithm",
            "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "older"}],
        },
        "OverallBestTrainingJob": {
            "TrainingJobName": "older-7", "TuningJobName": "older",
            "FinalHyperParameterTuningJobObjectiveMetric": {"Value": 0.95},
        },
    }  # fmt: skip
    described = job(*TRIALS, **warm)
    page = tuning_page(described, rungs.arrange(described, {"t-1": 1, "t-2": 9}), 20)
    assert "Hyperband ran 10 of 18 epochs" in page
    assert "Warm start (IdenticalDataAndAlgorithm) from <code>older</code>" in page
    assert "A trial of <code>older</code> is better still: <code>older-7</code>, 95.00 %" in page
    # With 20 pictures, 70 % may be 90 % by chance, 60 % may not.
    assert [near.number for near in described.alike(20)] == [4]
    assert "≈ 20 validation pictures cannot separate this trial from the best" in page
    assert [near.number for near in described.alike(2000)] == []
    assert "≈" not in tuning_page(described, None, None)
    own = job(*TRIALS, OverallBestTrainingJob={"TrainingJobName": "t-2", "TuningJobName": "t"})
    assert own.inherited is None
    assert job(*TRIALS).parents == ()
