"""What `byoc train` ends with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts import state
from scripts.commands import training
from scripts.errors import ByocError
from scripts.jobs import COULD_NOT_JUDGE
from scripts.output import Output
from scripts.settings import load

JOB: dict[str, Any] = {
    "TrainingJobName": "j",
    "TrainingJobStatus": "Completed",
    "ModelArtifacts": {"S3ModelArtifacts": "s3://b/model.tar.gz"},
    "DebugRuleEvaluationStatuses": [
        {"RuleConfigurationName": "Overfit", "RuleEvaluationStatus": "NoIssuesFound"},
        {
            "RuleConfigurationName": "WeightUpdateRatio",
            "RuleEvaluationStatus": "Error",
            "StatusDetails": f"{COULD_NOT_JUDGE}saved once: train longer.",
        },
        {
            "RuleConfigurationName": "DeadRelu",
            "RuleEvaluationStatus": "Error",
            "StatusDetails": "InternalServerError: KeyError",
        },
    ],
    "ProfilerRuleEvaluationStatuses": [
        {
            "RuleConfigurationName": name,
            "RuleEvaluationStatus": "NoIssuesFound",
            "StatusDetails": "The job ran without a GPU, so this does not apply.",
        }
        for name in ("BatchSize", "LoadBalancing")
    ],
}


def ended(capsys: pytest.CaptureFixture[str], metrics: dict[str, float], *, as_json: bool = False) -> str:
    final = [{"MetricName": name, "Value": value} for name, value in metrics.items()]
    out = Output(json=as_json)
    training._tell_trained(SimpleNamespace(out=out), {**JOB, "FinalMetricDataList": final}, None)  # type: ignore[arg-type]
    return capsys.readouterr().out


def test_it_ends_with_what_the_kept_weights_reach(capsys: pytest.CaptureFixture[str]) -> None:
    shown = ended(capsys, {"validation:accuracy": 0.9, "test:accuracy": 0.85, "kept_epoch": 7.0})
    assert "validation accuracy: 90.00 % with the weights that were kept, of epoch 7\n" in shown
    assert "test accuracy: 85.00 % with the weights that were kept, of epoch 7\n" in shown
    assert "validation accuracy: 90.00 %\n" in ended(capsys, {"validation:accuracy": 0.9})


def test_a_rule_that_could_not_judge_is_told_with_the_reason_and_apart_from_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = ended(capsys, {})
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.splitlines() if line.strip()}
    assert lines["WeightUpdateRatio"] == "Could not judge Saved once: train longer."
    assert lines["DeadRelu"] == "Error InternalServerError: KeyError"
    assert lines["NoIssuesFound:"] == "Overfit"
    assert "2 do not apply without a GPU: BatchSize, LoadBalancing" in shown
    assert json.loads(ended(capsys, {}, as_json=True))["rules"] == {
        "Overfit": "NoIssuesFound",
        "WeightUpdateRatio": "CouldNotJudge",
        "DeadRelu": "Error",
        "BatchSize": "DoesNotApply",
        "LoadBalancing": "DoesNotApply",
    }


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
