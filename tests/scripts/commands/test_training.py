"""What `byoc train` ends with."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.commands import training
from scripts.jobs import COULD_NOT_JUDGE
from scripts.output import Output

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
