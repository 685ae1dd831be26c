"""What a running job's terminal shows: curves and findings, read from S3 as the rules write them."""

from __future__ import annotations

import io
import json
import math
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from rich.console import Console

from scripts import live
from scripts.live import Curve, Curves, Watch, plot, rules_folder

FOLDER = "s3://bucket/out/job/rule-output"


@pytest.fixture
def s3(aws: None) -> Any:
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    return client


def put(s3: Any, name: str, content: object) -> None:
    s3.put_object(Bucket="bucket", Key=f"out/job/rule-output/{name}", Body=json.dumps(content))


def rule(name: str, *findings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"RuleConfigurationName": name, "Rule": name, "Findings": list(findings), **more}


def drawn(thing: object, width: int = 60) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(thing)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_findings_come_once_as_they_are_made(s3: Any) -> None:
    watch = Watch(SimpleNamespace(s3=s3), FOLDER)  # type: ignore[arg-type]
    assert watch.look(now=True) == []
    first = {"step": 20, "tensor": "loss", "severity": "high", "message": "rises", "remedy": "lower lr"}
    put(s3, "findings.json", {"rules": [rule("LossNotDecreasing", first)]})
    (found,) = watch.look(now=True)
    assert (found.rule, found.where, found.severity) == ("LossNotDecreasing", "step 20, loss", "high")
    second = {"step": 40, "tensor": "loss", "message": "still"}
    put(s3, "findings.json", {"rules": [rule("LossNotDecreasing", first, second)]})
    assert [item.message for item in watch.look(now=True)] == ["still"]
    assert watch.look(now=True) == []


def test_what_a_rule_of_rules_repeats_and_what_is_worded_anew_is_not_told_again(s3: Any) -> None:
    watch = Watch(SimpleNamespace(s3=s3), FOLDER)  # type: ignore[arg-type]
    outlier = {"step": 7, "message": "1 of 50"}
    report = rule("ProfilerReport", outlier, Parts=[{"Rule": "StepOutlier"}])
    put(s3, "findings.json", {"rules": [rule("StepOutlier", outlier), report]})
    assert [item.rule for item in watch.look(now=True)] == ["StepOutlier"]
    put(s3, "findings.json", {"rules": [rule("StepOutlier", {"step": 9, "message": "2 of 60"}), report]})
    assert watch.look(now=True) == []


def test_a_hook_that_goes_off_is_told(s3: Any) -> None:
    watch = Watch(SimpleNamespace(s3=s3), FOLDER)  # type: ignore[arg-type]
    put(s3, "findings.json", {"problems": ["The debugger's hook switched itself off: full"], "rules": []})
    assert "switched itself off" in watch.look(now=True)[0].message


def test_the_loss_by_step_is_the_training_loss(s3: Any) -> None:
    watch = Watch(SimpleNamespace(s3=s3), FOLDER)  # type: ignore[arg-type]
    train = {"step": [0, 10, 20], "value": [2.3, None, 1.1]}
    put(s3, "series.json", {"losses": {"loss": {"TRAIN": train, "EVAL": {"step": [0], "value": [9]}}}})
    watch.look(now=True)
    assert [point for point in watch.loss if point[1] == point[1]] == [(0.0, 2.3), (20.0, 1.1)]
    assert len(watch.loss) == 3


@pytest.mark.parametrize("content", [[], {"rules": 3, "losses": []}, {"rules": [3], "problems": {}}])
def test_garbage_is_silence(s3: Any, content: object) -> None:
    watch = Watch(SimpleNamespace(s3=s3), FOLDER)  # type: ignore[arg-type]
    put(s3, "findings.json", content)
    put(s3, "series.json", content)
    assert watch.look(now=True) == []
    assert watch.loss == []


def test_nothing_is_asked_more_often_than_it_pays(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(SimpleNamespace(s3=None), FOLDER)  # type: ignore[arg-type]
    monkeypatch.setattr(live.time, "monotonic", lambda: 100.0)
    watch._looked = 99.0
    assert watch.look() == []  # else: no client
    assert Watch(SimpleNamespace(s3=None), "").look(now=True) == []  # type: ignore[arg-type]


def test_the_rules_folder_lies_beside_the_hooks_output() -> None:
    job = {"TrainingJobName": "job", "DebugHookConfig": {"S3OutputPath": "s3://bucket/out/"}}
    assert rules_folder(job) == FOLDER
    assert rules_folder({"TrainingJobName": "job"}) == ""  # no debugger


def test_a_chart_spans_its_values_and_its_width() -> None:
    chart = drawn(plot("Loss", [Curve("training", "", [(0, 4.0), (50, 2.0), (100, 1.0)])], 60))
    lines = chart.splitlines()
    assert lines[1].startswith("  4 ")
    assert lines[8].startswith("  1 ")
    assert lines[-1].split() == ["0", "100"]
    assert max(map(len, lines)) <= 60
    assert sum(0x2800 < ord(char) <= 0x28FF for char in chart) > 20


def test_what_is_no_number_is_told_and_decades_are_logarithmic() -> None:
    points = [(0, 1.0), (1, 1e4), (2, math.nan), (3, 1.0)]
    chart = drawn(plot("Loss", [Curve("training", "", points)], 60))
    assert "1 not a number" in chart
    assert "\n  100 " in chart  # the middle of 1 and 10,000
    assert "nothing to draw yet" in drawn(plot("Loss", [Curve("t", "", [(0, math.nan)])], 60))


@pytest.mark.parametrize("width", [40, 100])
def test_the_curves_fit_the_terminal(width: int) -> None:
    curves = Curves(Watch(SimpleNamespace(), ""))  # type: ignore[arg-type]
    assert drawn(curves, width).strip() == ""
    for epoch in range(3):
        curves.add({"train:loss": 3.0 - epoch, "validation:accuracy": epoch / 3}, 10.0 * epoch)
    seen = drawn(curves, width)
    assert "Loss" in seen
    assert "Accuracy" in seen
    assert max(map(len, seen.splitlines())) <= width


def test_what_the_kept_weights_reach_is_no_point_of_a_curve() -> None:
    curves, plain = (Curves(Watch(SimpleNamespace(), "")) for _ in range(2))  # type: ignore[arg-type]
    for epoch in range(3):
        curves.add({"validation:accuracy": epoch / 3}, 10.0 * epoch)
        plain.add({"validation:accuracy": epoch / 3}, 10.0 * epoch)
    curves.add({"kept_epoch": 1.0, "validation:accuracy": 0.9}, None)
    assert drawn(curves, 60) == drawn(plain, 60)
    assert drawn(curves, 60).strip()
