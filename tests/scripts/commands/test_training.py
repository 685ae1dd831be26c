"""What `byoc train` ends with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contract.errors import ByocError
from contract.findings import Findings, Outcome, RuleResult
from scripts import state
from scripts.commands import training
from scripts.output import Output
from scripts.settings import load

JOB: dict[str, Any] = {
    "TrainingJobName": "j",
    "TrainingJobStatus": "Completed",
    "ModelArtifacts": {"S3ModelArtifacts": "s3://b/model.tar.gz"},
}
FINDINGS = Findings(
    rules=(
        RuleResult("Overfit", "Overfit", "debugger", Outcome.NO_ISSUES),
        RuleResult("DeadRelu", "DeadRelu", "debugger", Outcome.ISSUES_FOUND, "Dead.", total=3),
        RuleResult("BatchSize", "BatchSize", "profiler", Outcome.DOES_NOT_APPLY, "No GPU."),
    ),
    stopped_by="DeadRelu",
    stopped_at=1200,
)


def ended(
    capsys: pytest.CaptureFixture[str],
    metrics: dict[str, float],
    *,
    as_json: bool = False,
    hyperparameters: Mapping[str, str] = {},
) -> str:
    final = [{"MetricName": name, "Value": value} for name, value in metrics.items()]
    out = Output(json=as_json)
    job = {**JOB, "FinalMetricDataList": final, "HyperParameters": hyperparameters}
    training._show_trained(SimpleNamespace(out=out), job, None, FINDINGS, None)  # type: ignore[arg-type]
    return capsys.readouterr().out


def test_it_ends_with_what_the_kept_weights_reach(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"validation:accuracy": 0.9, "test:accuracy": 0.85, "test:pictures": 100, "kept_epoch": 7.0}
    shown = ended(capsys, values)
    assert "The weights of epoch 7 were kept.\n" in shown
    assert "validation accuracy: 90.00 %\n" in shown
    assert "test accuracy: 85.00 % of 100 pictures (95 % interval: 76.7 to 90.7 %)\n" in shown
    assert "kept" not in ended(capsys, {"validation:accuracy": 0.9})


def test_its_json_has_the_outcomes_and_which_rule_ended_it(capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads(ended(capsys, {}, as_json=True))
    assert result["rules"] == {
        "Overfit": "NoIssuesFound", "DeadRelu": "IssuesFound", "BatchSize": "DoesNotApply"
    }  # fmt: skip
    assert result["stopped_by"] == "DeadRelu"


def test_a_job_that_kept_no_model_names_none(capsys: pytest.CaptureFixture[str]) -> None:
    without = {"save_model": "false"}
    shown = ended(capsys, {}, hyperparameters=without)
    assert "Model: not kept" in shown
    assert "byoc deploy" not in shown
    assert json.loads(ended(capsys, {}, as_json=True, hyperparameters=without))["model"] is None


@pytest.mark.parametrize("outcome", [None, Outcome.COULD_NOT_JUDGE, Outcome.NO_ISSUES])
def test_of_a_job_that_failed_at_once_there_is_the_error_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, outcome: Outcome | None
) -> None:
    monkeypatch.setattr(
        training, "_report_after", lambda context, name, price: (print("Report:", name), None)
    )
    judged = (
        None if outcome is None else Findings(rules=(RuleResult("Overfit", "Overfit", "debugger", outcome),))
    )
    failed = {**JOB, "TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: no pictures"}
    with pytest.raises(ByocError, match="no pictures"):
        training.conclude_training(SimpleNamespace(out=Output(), clients=None), failed, judged, None)  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert ("Report: j" in shown and "Overfit" in shown) is (outcome is Outcome.NO_ISSUES)


def context(folder: Path, *overrides: str, status: str = "InProgress") -> Any:
    jobs = SimpleNamespace(describe_training_job=lambda TrainingJobName: {"TrainingJobStatus": status})
    return SimpleNamespace(
        overrides=list(overrides),
        settings=replace(load(required=False, overrides=overrides, environment={}), folder=folder),
        clients=SimpleNamespace(sagemaker=jobs),
    )


def test_a_resumed_job_may_have_other_settings_only_where_they_change_no_result(tmp_path: Path) -> None:
    given = ("train.instance_type=ml.g5.xlarge", "cache_mb=500", "hyperparameters.workers=2")
    assert training._free_settings(context(tmp_path, *given)) == {"cache_mb": 500, "workers": 2}
    with pytest.raises(ByocError, match="takes the job's own lr, epochs: with another"):
        training._free_settings(context(tmp_path, "lr=0.1", "cache_mb=500", "hyperparameters.epochs=3"))


def test_two_jobs_do_not_go_on_from_the_same_checkpoints_at_a_time(tmp_path: Path) -> None:
    running, ended = context(tmp_path), context(tmp_path, status="Failed")
    training._refuse_second(running, "s3://b/c")
    state.update(running.settings, resumed={"checkpoints": "s3://b/c", "training_job": "on"})
    with pytest.raises(ByocError, match="on goes on from these checkpoints already"):
        training._refuse_second(running, "s3://b/c")
    training._refuse_second(running, "s3://b/other")
    training._refuse_second(ended, "s3://b/c")
