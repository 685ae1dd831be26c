from __future__ import annotations

import pytest

from local.jobs.metrics import MetricReader


def reader(*definitions: tuple[str, str]) -> MetricReader:
    return MetricReader([{"Name": name, "Regex": regex} for name, regex in definitions])


def values(metrics: MetricReader) -> dict[str, float]:
    return {metric["MetricName"]: metric["Value"] for metric in metrics.final_metrics()}


def test_the_first_group_is_the_value_and_the_last_value_counts() -> None:
    metrics = reader(("loss", r"(?:^|\s)loss=([-+0-9.eE]+)"), ("accuracy", r"acc(?:uracy)?=(\d\.\d+)(x?)"))
    assert metrics.read("epoch=1 loss=0.5 accuracy=0.25x") == ["loss", "accuracy"]
    assert metrics.read("nothing here; train_loss=9") == []
    metrics.read("loss=1e-3")
    assert values(metrics) == {"loss": 0.001, "accuracy": 0.25}
    assert metrics.series("loss") == [0.5, 0.001]
    assert metrics.series("none") == []


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "abc", ""])
def test_what_is_no_finite_number_is_no_value(value: str) -> None:
    metrics = reader(("loss", r"loss=(\S*)"))
    assert metrics.read(f"loss={value}") == []
    assert values(metrics) == {}


def test_javas_named_groups_are_understood() -> None:
    metrics = reader(("loss", r"loss=(?<value>[0-9.]+)"))
    metrics.read("loss=2.5")
    assert values(metrics) == {"loss": 2.5}


def test_useless_expressions_are_named() -> None:
    metrics = reader(("a", "(["), ("b", "no group"))
    assert len(metrics.problems) == 2
    assert "'a'" in metrics.problems[0]
    assert "'b'" in metrics.problems[1]


def test_writes_are_due_only_when_there_is_news() -> None:
    metrics = reader(("loss", "loss=(.*)"))
    assert not metrics.due()
    metrics.read("loss=1")
    assert metrics.due()
    metrics.final_metrics()
    assert not metrics.due()


def test_what_is_logged_while_the_machine_goes_is_the_latest_value_and_no_epochs() -> None:
    reader = MetricReader([{"Name": "score", "Regex": r"score=(\S+)"}])
    assert reader.latest("score") is None
    reader.read("score=0.7")
    reader.read("score=0.6")
    assert reader.read("score=0.7", leaving=True) == ["score"]
    assert reader.series("score") == [0.7, 0.6]
    assert reader.latest("score") == 0.7
    reader.start_again()
    assert reader.series("score") == []
    assert reader.latest("score") == 0.7
