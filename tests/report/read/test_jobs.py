"""Watching jobs, against scripted answers in place of AWS."""

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from contract.errors import ByocError
from report.read import jobs, pace, tuning
from tests.report.read.growing import Logs
from tests.report.read.test_tuning import tuning_clients


@pytest.fixture
def logs() -> Logs:
    return Logs()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace.time, "sleep", lambda seconds: None)


def job(status: str, secondary: list[str], **rules: str) -> dict[str, Any]:
    return {
        "TrainingJobName": "j",
        "TrainingJobStatus": status,
        "SecondaryStatusTransitions": [{"Status": name, "StatusMessage": ""} for name in secondary],
        "DebugRuleEvaluationStatuses": [
            {"RuleConfigurationName": name, "RuleEvaluationStatus": value} for name, value in rules.items()
        ],
    }


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
        logs=logs, log_lag=0.0, sagemaker=SimpleNamespace(describe_training_job=describe_training_job)
    )
    events = [(event.kind, event.text, event.detail) for event in jobs.follow(clients, "j")]
    assert [text for kind, text, _ in events if kind == "status"] == ["Starting", "Training", "Completed"]
    assert [text for kind, text, _ in events if kind == "line"] == ["line 0", "line 1", "line 2", "line 3"]
    assert ("rule", "Overfit", "IssuesFound") in events
    assert [kind for kind, *_ in events].count("rule") == 1


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
    clients: Any = SimpleNamespace()  # nothing is asked for
    with pytest.raises(ByocError, match=message):
        jobs.require_completed(clients, {"TrainingJobName": "j", **described})
    jobs.require_completed(clients, {"TrainingJobName": "j", "TrainingJobStatus": "Completed"})


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
@pytest.mark.parametrize(("objects", "advised"), [(1, True), (0, False)])
def test_going_on_is_advised_where_there_are_checkpoints(status: str, objects: int, advised: bool) -> None:
    job = {"TrainingJobName": "j", "TrainingJobStatus": status, "CheckpointConfig": {"S3Uri": "s3://b/c/j"}}
    with pytest.raises(ByocError) as caught:
        jobs.require_completed(resumable(job, objects), job)
    assert ("byoc train --resume j" in caught.value.remedy) == advised


@pytest.mark.parametrize(
    ("given", "kept"), [({}, True), ({"save_model": "true"}, True), ({"save_model": "False"}, False)]
)
def test_a_job_may_have_kept_no_model(given: dict[str, str], kept: bool) -> None:
    clients: Any = SimpleNamespace()  # nothing is asked for
    job = {
        "TrainingJobName": "j", "TrainingJobStatus": "Completed", "HyperParameters": given,
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/m"},
    }  # fmt: skip
    if kept:
        assert jobs.artifact(clients, job) == "s3://b/m"
    else:
        with pytest.raises(ByocError, match="j kept no model"):
            jobs.artifact(clients, job)


def test_a_stopped_job_has_a_model_once_an_epoch_was_finished() -> None:
    clients: Any = SimpleNamespace()
    job: dict[str, Any] = {
        "TrainingJobName": "j", "TrainingJobStatus": "Stopped",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/m"},
    }  # fmt: skip
    with pytest.raises(ByocError, match="j was stopped"):
        jobs.artifact(clients, job)
    job["FinalMetricDataList"] = [{"MetricName": "kept_epoch", "Value": 3.0}]
    assert jobs.artifact(clients, job) == "s3://b/m"
    with pytest.raises(ByocError) as caught:
        jobs.require_completed(clients, job)
    assert "`byoc deploy j` takes its model, with the weights of epoch 3" in caught.value.remedy
    with pytest.raises(ByocError, match="j was stopped"):
        jobs.artifact(clients, {**job, "HyperParameters": {"save_model": "false"}})


@pytest.mark.parametrize("status", ["Deleting", "DeleteFailed", "Failed"])
def test_watching_ends_at_every_status_from_which_nothing_comes(logs: Logs, status: str) -> None:
    assert tuning.look(tuning_clients("", [], status), "t").ended
    sagemaker = SimpleNamespace(describe_training_job=lambda TrainingJobName: job(status, [status]))
    clients: Any = SimpleNamespace(logs=logs, log_lag=0.0, sagemaker=sagemaker)
    assert [event.text for event in jobs.follow(clients, "j")] == [status]


@pytest.mark.parametrize(
    ("job", "objects", "message"),
    [
        ({"TrainingJobStatus": "InProgress"}, 1, "still InProgress"),
        ({"TrainingJobStatus": "Completed"}, 1, "nothing to go on with"),
        ({"TrainingJobStatus": "Failed"}, 1, "kept no checkpoints in S3"),
        (
            {
                "TrainingJobName": "j",
                "TrainingJobStatus": "Failed",
                "CheckpointConfig": {"S3Uri": "s3://b/c/j"},
            },
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
        "TrainingJobName": "j",
        "TrainingJobStatus": "Stopped",
        "CheckpointConfig": {"S3Uri": "s3://b/c/j"},
        "HyperParameters": {
            "lr": "0.1", "sagemaker_torch_distributed_enabled": "true", "_tuning_objective_metric": "v"
        },
    }  # fmt: skip
    assert jobs.resumed(resumable(job, 1), "j") == jobs.Resumed("s3://b/c/j", {"lr": "0.1"})


def test_a_trial_is_resumed_from_its_own_folder_and_one_of_before_from_the_common_one() -> None:
    job = {
        "TrainingJobName": "t-001-0a",
        "TrainingJobStatus": "Failed",
        "CheckpointConfig": {"S3Uri": "s3://b/c/t"},
    }
    assert jobs.resumed(resumable(job, 1, "c/t/t-001-0a/"), "j").checkpoints == "s3://b/c/t/t-001-0a"
    assert jobs.resumed(resumable(job, 1, "c/t/"), "j").checkpoints == "s3://b/c/t"
    with pytest.raises(ByocError, match="wrote no checkpoint"):
        jobs.resumed(resumable(job, 1, "c/t/t-002-0b/"), "j")


def resumable(job: dict[str, Any], objects: int, place: str = "c/j/") -> Any:
    def list_objects_v2(Bucket: str, Prefix: str, Delimiter: str) -> dict[str, Any]:
        assert (Bucket, Delimiter) == ("b", "/")  # what lies deeper is another trial's
        return {"Contents": [{}] * objects} if Prefix == place else {}

    return SimpleNamespace(
        sagemaker=SimpleNamespace(describe_training_job=lambda TrainingJobName: job),
        s3=SimpleNamespace(list_objects_v2=list_objects_v2),
    )
