"""What `byoc tune` and `byoc best` end with."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contract.findings import Line, Outcome, StopLine, VerdictLine, format_line
from report.read import jobs, logs, tuning
from report.read.trials import Progress, Trial
from report.read.tuning import TuningJob
from scripts import state
from scripts.commands.tuning import _not_apart, _reasons, _show_best, _trials
from scripts.output import Output
from scripts.settings import load
from tests.scripts.conftest import Run

BEST = {
    "tuning_job": "t", "training_job": "t-1", "metric": "validation:accuracy", "value": 0.1,
    "hyperparameters": {"lr": "0.95"}, "complete": True,
}  # fmt: skip


def test_how_many_trials_a_grid_has_is_said_before_they_are_paid(ready: Path, run: Run) -> None:
    grid = ("tune", "--no-wait", "--set", "tune.strategy=Grid", "--range", "lr=0.1,0.2,0.3")
    output = " ".join(run(*grid, "--range", "batch_size=8,16,32,64").stdout.split())
    assert "Grid runs a trial for each of the 12 combinations in [tune.ranges], and ignores" in output


@pytest.mark.parametrize(
    ("lines", "stopped"),
    [
        ([StopLine("LossNotDecreasing", 120, "It rises."), VerdictLine("Overfit", Outcome.NO_ISSUES)], True),
        ([VerdictLine("LossNotDecreasing", Outcome.ISSUES_FOUND)], False),
    ],
)
def test_a_best_trial_that_a_rule_ended_is_no_success(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lines: list[Line],
    stopped: bool,
) -> None:
    monkeypatch.setattr(tuning, "best", lambda clients, name: dict(BEST))
    monkeypatch.setattr(logs, "read_end", lambda client, job: list(map(format_line, lines)))
    settings = replace(load(required=False, environment={}), folder=tmp_path)
    context: Any = SimpleNamespace(out=Output(), settings=settings, clients=SimpleNamespace(logs=None))
    state.update(settings, tuning_job="newer")  # which has no result yet, so that `byoc best` falls back
    _show_best(context, TuningJob("t", {"HyperParameterTuningJobStatus": "Completed"}))
    assert state.read(settings)["tuning_job"] == "newer"
    assert state.read(settings)["best"]["training_job"] == "t-1"
    captured = capsys.readouterr()
    told = " ".join((captured.out + captured.err).split())
    assert ("The best trial is hopeless: LossNotDecreasing stopped the training after" in told) == stopped


def job(metric: str, *trials: Trial, best: str = "") -> TuningJob:
    objective = {"MetricName": metric, "Type": "Maximize"}
    config = {"HyperParameterTuningJobObjective": objective, "TrainingJobEarlyStoppingType": "Auto"}
    return TuningJob(
        "t", {"HyperParameterTuningJobConfig": config, "BestTrainingJob": {"TrainingJobName": best}}, trials
    )


def test_trials_that_the_pictures_cannot_separate(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = {"validation:pictures": 66.0}
    monkeypatch.setattr(jobs, "describe", lambda clients, name: {})
    monkeypatch.setattr(jobs, "metrics", lambda job: metrics)
    context: Any = SimpleNamespace(clients=None)

    def sentence(second: float, metric: str = "validation:accuracy") -> str:
        first = Trial("a", 1, "Completed", 0.95, {"lr": "0.1"})
        other = Trial("b", 2, "Completed", second, {"lr": "0.2"})
        return _not_apart(context, job(metric, other, first, best="a"))

    assert sentence(0.92) == (
        "66 validation pictures cannot separate the best trial from the second (92.00 %; lr = 0.2)."
    )
    assert sentence(0.60) == ""
    assert sentence(math.nan) == ""
    assert sentence(0.92, "validation:loss") == ""
    assert sentence(0.92, "train:accuracy") == ""
    metrics.clear()  # of an earlier image
    assert sentence(0.92) == ""


def test_the_table_says_how_far_a_trial_is_and_why_one_was_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = [format_line(StopLine("LossNotDecreasing", 120, "It rises."))]
    read: list[str] = []

    def read_end(clients: Any, job: str) -> list[str]:
        read.append(job)
        return stopped if job == "c" else []

    monkeypatch.setattr(logs, "read_end", read_end)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    tuned = job(
        "validation:accuracy",
        Trial("a", 1, "InProgress", math.nan, {"lr": "0.1"}, progress=Progress(2, 8, 0.7, 60, 50)),
        Trial("b", 2, "InProgress", math.nan, {"lr": "0.2"}),
        Trial("c", 3, "Stopped", 0.1, {"lr": "0.9"}, began, began + timedelta(seconds=9)),
        Trial("d", 4, "Stopped", math.nan, {"lr": "0.8"}),
        Trial("e", 5, "Failed", math.nan, {"lr": "7"}, reason="AlgorithmError: lr"),
    )
    out, reasons = Output(), dict[str, str]()
    context: Any = SimpleNamespace(clients=None)
    for _ in range(2):
        reasons = _reasons(context, tuned, reasons)
    assert read == ["c", "d"]
    out.show(_trials(out, tuned, reasons))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "1 0.1 70.00 % 1 min epoch 2/8, 2 min left" in lines
    assert "2 0.2 InProgress" in lines
    assert "3 0.9 10.00 % 9 s Stopped: LossNotDecreasing" in lines
    assert "4 0.8 Stopped: early stopping" in lines
    assert "# lr accuracy time status" in lines
    assert "5 7 Failed: AlgorithmError: lr" in lines


def test_trials_of_a_job_that_was_stopped_were_not_stopped_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "read_end", lambda clients, job: [])
    tuned = job("validation:accuracy", Trial("a", 1, "Stopped", math.nan, {}))
    stopped = replace(tuned, described={**tuned.described, "HyperParameterTuningJobStatus": "Stopped"})
    context: Any = SimpleNamespace(clients=None)
    assert _reasons(context, tuned, {}) == {"a": "early stopping"}
    assert _reasons(context, stopped, {}) == {"a": ""}
    never = replace(tuned, described={"HyperParameterTuningJobConfig": {}})
    assert _reasons(context, never, {}) == {"a": ""}
