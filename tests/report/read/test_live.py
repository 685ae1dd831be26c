"""A training job while it runs: what each look adds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from contract.errors import NOT_FOUND, ByocError
from contract.findings import FindingLine, MachineLine, ProgressLine, format_line
from contract.metrics import METRIC_DEFINITIONS
from report.pages.live import training_document, training_figures
from report.read import live
from report.read.live import LiveTraining
from tests.report.read.growing import Logs

STREAM = "job/algo-1-1"


class Cloud:
    """One job whose description and log a test changes."""

    def __init__(self) -> None:
        self.logs = Logs()
        self.log_lag = 0.0
        self.job: dict[str, Any] = {
            "TrainingJobName": "job",
            "TrainingJobStatus": "InProgress",
            "AlgorithmSpecification": {"MetricDefinitions": METRIC_DEFINITIONS},
            "HyperParameters": {"lr": '"0.1"', "sagemaker_program": "x", "api_token": "secret"},
        }
        self.sagemaker = SimpleNamespace(describe_training_job=lambda TrainingJobName: self.job)

    def says(self, *lines: str) -> None:
        self.logs.streams.setdefault(STREAM, []).extend(lines)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def metrics(step: int) -> str:
    return f"epoch=1 step={step} train_loss=1 train_accuracy=0.5 validation_loss=1 validation_accuracy=0.75"


def test_each_look_adds_what_came(cloud: Any) -> None:
    watched = LiveTraining(cloud, "job", shortest=0.0)
    watched.look()
    version = watched.version
    watched.look()
    assert watched.version == version  # nothing came
    cloud.says("hello", format_line(ProgressLine(1, 2, 10, 20, 2.5)), format_line(MachineLine(1.0, 50.0)))
    watched.look()
    assert watched.version > version
    assert watched.lines_since(0) == ["hello"]
    assert watched.lines_since(1) == []
    assert watched.reader.log.losses == {10: 2.5}
    assert [line.cpu for line in watched.reader.machine] == [50.0]


def test_the_page_says_it_in_the_reports_words(cloud: Any) -> None:
    watched = LiveTraining(cloud, "job", shortest=0.0)
    cloud.says(
        *(format_line(ProgressLine(1, 2, step, 20, 2.5 - step / 10, 99.0, 7.0)) for step in range(1, 11)),
        format_line(MachineLine(1.0, 50.0, 10.0)),
        format_line(MachineLine(2.0, 60.0, 10.0)),
        metrics(10),
        format_line(FindingLine("LossNotDecreasing", 10, None, "high", "It rises.", "Lower it.")),
    )
    watched.look()
    document = training_document(watched, 2.0)
    assert document["progress"] == {
        "share": 0.5, "text": "Epoch 1 of 2, step 10 of 20, 99 pictures/s, 7 s left"
    }  # fmt: skip
    assert document["verdicts"][0]["advice"][0]["messages"] == ["It rises."]
    assert document["settings"] == {"api_token": "•••••• (hidden: looks like a secret)", "lr": "0.1"}
    assert {"label": "Validation accuracy", "value": "75.0 %"} in document["tiles"]
    assert [item.id for item in training_figures(watched)] == ["loss", "accuracy", "utilisation"]


def test_a_job_that_has_not_begun_draws_nothing(cloud: Any) -> None:
    watched = LiveTraining(cloud, "job", shortest=0.0)
    watched.look()
    assert training_figures(watched) == []
    assert training_document(watched, None)["cost"] is None


def test_lines_before_a_broken_connection_are_not_lost(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.says(*(f"line {number}" for number in range(5)))
    watched = LiveTraining(cloud, "job", shortest=0.0)
    pages, calls = cloud.logs.get_log_events, 0

    def once(**query: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1")
        return pages(**query)

    monkeypatch.setattr(cloud.logs, "get_log_events", once)
    with pytest.raises(EndpointConnectionError):
        watched.look()
    watched.look()
    assert watched.lines_since(0) == [f"line {number}" for number in range(5)]


def test_after_the_end_nobody_is_asked(cloud: Any) -> None:
    cloud.job |= {"TrainingJobStatus": "Completed", "BillableTimeInSeconds": 7200}
    watched = LiveTraining(cloud, "job", shortest=0.0)
    watched.look()
    assert watched.over
    cloud.sagemaker.describe_training_job = None
    watched.look()
    document = training_document(watched, 1.5)
    assert document["cost"] == 3.0
    assert document["progress"] is None


def test_a_long_log_keeps_its_end(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LINES", 3)
    cloud.says(*(f"line {number}" for number in range(10)))
    watched = LiveTraining(cloud, "job", shortest=0.0)
    watched.lines = type(watched.lines)(maxlen=3)
    watched.look()
    assert watched.count == 10
    assert watched.lines_since(0) == ["line 7", "line 8", "line 9"]
    assert watched.lines_since(9) == ["line 9"]


def test_a_job_that_is_not_there(cloud: Any) -> None:
    def missing(TrainingJobName: str) -> None:
        answer = {"Error": {"Code": "ValidationException", "Message": "Requested resource not found."}}
        raise ClientError(answer, "DescribeTrainingJob")

    cloud.sagemaker.describe_training_job = missing
    with pytest.raises(ByocError) as caught:
        LiveTraining(cloud, "job", shortest=0.0).look()
    assert caught.value.code == NOT_FOUND
