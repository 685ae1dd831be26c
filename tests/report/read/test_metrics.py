"""Metrics in a job's log: their curves, and what holds of the whole job."""

from __future__ import annotations

import pytest

from contract.metrics import METRIC_DEFINITIONS, format_metrics
from report.charts.curves import accuracy_figure, axis_of, metric_curve
from report.read.metrics import Log, Parser, parse_log

DEFINITIONS = [(item["Name"], item["Regex"]) for item in METRIC_DEFINITIONS]


def log(*, steps: bool = True, kept: bool = True) -> Log:
    lines = [
        format_metrics(epoch=epoch, **({"step": 10 * epoch} if steps else {}), validation_accuracy=accuracy)
        for epoch, accuracy in enumerate((0.5, 0.9, 0.8), 1)
    ]
    if kept:
        scored = {"validation_accuracy": 0.9, "test_accuracy": 0.85}
        lines.append(format_metrics(kept_epoch=2, **scored, validation_pictures=66, test_pictures=66))
    return parse_log(lines, DEFINITIONS)


@pytest.mark.parametrize(("steps", "places"), [(True, [10, 20, 30]), (False, [1, 2, 3])])
def test_what_the_kept_weights_reach_is_the_jobs_and_no_point_of_a_curve(
    steps: bool, places: list[int]
) -> None:
    found = log(steps=steps)
    metric = found.metrics["validation:accuracy"]
    assert metric.last == 0.9
    assert metric.last_epoch == 0.8
    axis = axis_of(found)
    assert axis.name == ("step" if steps else "epoch")
    curve = metric_curve(metric, axis)
    assert curve.step.tolist() == places
    assert curve.value.tolist() == [0.5, 0.9, 0.8]


def test_the_accuracys_caption_says_which_weights_were_kept() -> None:
    kept, unknown = accuracy_figure(log(), [], 10), accuracy_figure(log(kept=False), [], 10)
    assert kept
    assert unknown
    text = "Validation accuracy is best at step 20 (epoch 2): 90.0 %; it ends at 80.0 %."
    assert kept.caption == f"{text} The model holds the weights of epoch 2."
    assert unknown.caption == text


def test_the_tail_says_what_is_left_out_where_the_script_never_started() -> None:
    lines = ["Training Env:", "{", "}", "exec: error: no python"]
    assert parse_log(lines, DEFINITIONS).tail == [
        lines[-1],
        "(3 lines of SageMaker's toolkit are left out; `byoc logs --all` shows them.)",
    ]


def test_the_trainers_lines_are_read_back() -> None:
    line = format_metrics(epoch=3, train_loss=0.125, validation_accuracy=0.9537, learning_rate=1e-05)
    assert Parser(DEFINITIONS).parse(line) == {
        "epoch": 3.0,
        "train:loss": 0.125,
        "validation:accuracy": 0.9537,
        "learning_rate": 1e-05,
    }


@pytest.mark.parametrize("line", ["", "loss=1", "my_train_loss=3", "train_loss=", "epoch: 3"])
def test_other_lines_have_no_metrics(line: str) -> None:
    assert Parser(DEFINITIONS).parse(line) == {}


def test_not_a_number_is_a_number_here() -> None:
    assert Parser(DEFINITIONS).parse("train_loss=inf")["train:loss"] == float("inf")
