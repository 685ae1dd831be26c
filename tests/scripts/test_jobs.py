"""Watching jobs, against scripted answers in place of AWS."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from scripts import jobs, tuning
from scripts.errors import ByocError


class Logs:
    """CloudWatch Logs with streams that grow: each call to `grow` adds lines."""

    class exceptions:
        class ResourceNotFoundException(Exception):
            pass

    def __init__(self) -> None:
        self.streams: dict[str, list[str]] = {}
        self.created: dict[str, int] = {}
        self.since = 0

    def get_paginator(self, name: str) -> Any:
        return SimpleNamespace(paginate=self._streams)

    def _streams(self, logGroupName: str, logStreamNamePrefix: str) -> Iterator[Any]:
        if not self.streams:
            raise self.exceptions.ResourceNotFoundException
        names = [name for name in self.streams if name.startswith(logStreamNamePrefix)]
        created = self.created
        yield {
            "logStreams": [{"logStreamName": name, "creationTime": created.get(name, 0)} for name in names]
        }

    def get_log_events(
        self, logStreamName: str, nextToken: str = "f/0", startTime: int = 0, **_: Any
    ) -> dict[str, Any]:
        self.since = startTime
        begin = int(nextToken.split("/")[1])
        lines = self.streams[logStreamName][begin : begin + 2]  # two a page
        return {
            "events": [{"message": line} for line in lines],
            "nextForwardToken": f"f/{begin + len(lines)}",
        }


@pytest.fixture
def logs() -> Logs:
    return Logs()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.time, "sleep", lambda seconds: None)


def job(status: str, secondary: list[str], **rules: str) -> dict[str, Any]:
    return {
        "TrainingJobName": "j",
        "TrainingJobStatus": status,
        "SecondaryStatusTransitions": [{"Status": name, "StatusMessage": ""} for name in secondary],
        "DebugRuleEvaluationStatuses": [
            {"RuleConfigurationName": name, "RuleEvaluationStatus": value} for name, value in rules.items()
        ],
    }


def test_log_lines_come_once_and_across_pages(logs: Logs) -> None:
    tail = jobs.LogTail(SimpleNamespace(logs=logs), "group", "j/")  # type: ignore[arg-type]
    assert list(tail.read()) == []
    logs.streams["j/algo-1-17"] = ["a", "b", "c"]
    logs.streams["j2/algo-1-17"] = ["of another job"]
    assert list(tail.read()) == ["a", "b", "c"]
    assert list(tail.read()) == []
    logs.streams["j/algo-1-17"] += ["d\n"]
    assert list(tail.read()) == ["d"]
    logs.streams["j/algo-2-17"] = ["e"]
    assert list(tail.read()) == ["[algo-2] e"]


def test_lines_since_a_moment_are_those_of_the_machines_that_are_new(logs: Logs) -> None:
    clients: Any = SimpleNamespace(logs=logs)
    logs.streams = {"v/old": ["long ago", "a request"], "v/new": ["fails"]}
    logs.created = {"v/old": 100, "v/new": 200}
    assert list(jobs.LogTail(clients, "group", "v/", 200).read()) == ["fails"]
    assert logs.since == 200
    assert len(list(jobs.LogTail(clients, "group", "v/", 300).read())) == 3  # the same machines went on
    assert logs.since == 300


def test_a_job_is_followed_until_its_rules_are_done(logs: Logs) -> None:
    answers = [
        job("InProgress", ["Starting"], Overfit="InProgress"),
        job("InProgress", ["Starting", "Training"], Overfit="InProgress"),
        job("Completed", ["Starting", "Training", "Completed"], Overfit="InProgress"),
        job("Completed", ["Starting", "Training", "Completed"], Overfit="IssuesFound"),
    ]

    def describe_training_job(TrainingJobName: str) -> dict[str, Any]:
        logs.streams["j/algo-1-1"] = [f"line {n}" for n in range(5 - len(answers))]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    clients: Any = SimpleNamespace(
        logs=logs, sagemaker=SimpleNamespace(describe_training_job=describe_training_job)
    )
    events = [(event.kind, event.text, event.detail) for event in jobs.follow(clients, "j")]
    assert [text for kind, text, _ in events if kind == "status"] == ["Starting", "Training", "Completed"]
    assert [text for kind, text, _ in events if kind == "line"] == ["line 0", "line 1", "line 2", "line 3"]
    assert ("rule", "Overfit", "IssuesFound") in events
    assert [kind for kind, *_ in events].count("rule") == 1


def test_a_rule_that_could_not_judge_has_ended(logs: Logs) -> None:
    answer = job("Completed", [], Overfit="Error")
    answer["DebugRuleEvaluationStatuses"][0]["StatusDetails"] = f"{jobs.COULD_NOT_JUDGE}one evaluation."
    clients: Any = SimpleNamespace(
        logs=logs, sagemaker=SimpleNamespace(describe_training_job=lambda TrainingJobName: answer)
    )
    assert [event.detail for event in jobs.follow(clients, "j") if event.kind == "rule"] == ["CouldNotJudge"]
    assert jobs.verdicts(answer) == {"Overfit": "CouldNotJudge"}


def missing(*_: Any, **__: Any) -> Any:
    raise ClientError(
        {"Error": {"Code": "ValidationException", "Message": "Requested resource not found."}}, "x"
    )


def test_a_job_that_does_not_exist(logs: Logs) -> None:
    clients: Any = SimpleNamespace(
        sagemaker=SimpleNamespace(describe_training_job=missing, describe_hyper_parameter_tuning_job=missing)
    )
    with pytest.raises(ByocError, match="no training job x"):
        jobs.describe(clients, "x")
    with pytest.raises(ByocError, match="no tuning job x"):
        tuning.look(clients, "x")


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: no pictures"}, "no pictures"),
        ({"TrainingJobStatus": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"}, "MaxRuntimeExceeded"),
        ({"TrainingJobStatus": "InProgress"}, "still InProgress"),
    ],
)
def test_only_a_completed_job_is_good(described: dict[str, Any], message: str) -> None:
    with pytest.raises(ByocError, match=message):
        jobs.require_completed({"TrainingJobName": "j", **described})
    jobs.require_completed({"TrainingJobName": "j", "TrainingJobStatus": "Completed"})


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


def test_no_best_says_why() -> None:
    failed = trial("a", None, TrainingJobStatus="Failed", FailureReason="AlgorithmError: lr is bad")
    with pytest.raises(ByocError, match=r"a failed: AlgorithmError: lr is bad"):
        tuning.best(tuning_clients("", [failed]), "t")
    with pytest.raises(ByocError, match="no completed trial yet"):
        tuning.best(tuning_clients("", [], "InProgress"), "t")


@pytest.mark.parametrize(
    ("job", "objects", "message"),
    [
        ({"TrainingJobStatus": "InProgress"}, 1, "still InProgress"),
        ({"TrainingJobStatus": "Completed"}, 1, "nothing to go on with"),
        ({"TrainingJobStatus": "Failed"}, 1, "kept no checkpoints in S3"),
        (
            {"TrainingJobStatus": "Failed", "CheckpointConfig": {"S3Uri": "s3://b/c/j"}},
            0,
            "wrote no checkpoint",
        ),
    ],
)
def test_what_cannot_be_resumed_is_told(job: dict[str, Any], objects: int, message: str) -> None:
    clients = resumable(job, objects)
    with pytest.raises(ByocError, match=message):
        jobs.resumed(clients, "j")


def test_a_job_is_resumed_with_its_own_hyperparameters() -> None:
    job = {
        "TrainingJobStatus": "Stopped",
        "CheckpointConfig": {"S3Uri": "s3://b/c/j"},
        "HyperParameters": {"lr": "0.1", "sagemaker_torch_distributed_enabled": "true"},
    }
    assert jobs.resumed(resumable(job, 1), "j") == jobs.Resumed("s3://b/c/j", {"lr": "0.1"})


def resumable(job: dict[str, Any], objects: int) -> Any:
    def list_objects_v2(Bucket: str, Prefix: str, MaxKeys: int) -> dict[str, Any]:
        assert (Bucket, Prefix) == ("b", "c/j/")
        return {"KeyCount": objects}

    return SimpleNamespace(
        sagemaker=SimpleNamespace(describe_training_job=lambda TrainingJobName: job),
        s3=SimpleNamespace(list_objects_v2=list_objects_v2),
    )
