from __future__ import annotations

import base64
import datetime
from collections.abc import Callable
from typing import Any

import pytest

from local.jobs.documents import fail, training_document
from local.runtime import optml

Service = Any  # conftest.Service
Make = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def channel(name: str, **source: Any) -> dict[str, Any]:
    s3 = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data", **source}
    return {"ChannelName": name, "DataSource": {"S3DataSource": s3}}


def test_a_job_is_created_described_and_waited_for(service: Service, training: Make) -> None:
    sagemaker = service.client("sagemaker")
    before = datetime.datetime.now(datetime.UTC)
    request = training(
        HyperParameters={"lr": "0.1"},
        InputDataConfig=[channel("train")],
        Environment={"COLOUR": "blue"},
        Tags=[{"Key": "team", "Value": "a b"}],
    )
    arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:123456789012:training-job/job"
    assert service.engine.calls == [("submit training-job", "job")]
    doc = sagemaker.describe_training_job(TrainingJobName="job")
    assert doc["TrainingJobArn"] == arn
    assert (doc["TrainingJobStatus"], doc["SecondaryStatus"]) == ("InProgress", "Starting")
    assert (
        before - datetime.timedelta(seconds=1) <= doc["CreationTime"] <= datetime.datetime.now(datetime.UTC)
    )
    for member in ("HyperParameters", "InputDataConfig", "Environment", "ResourceConfig", "RoleArn"):
        assert doc[member] == request[member]
    service.engine.end_training("job")
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName="job")
    doc = sagemaker.describe_training_job(TrainingJobName="job")
    assert [step["Status"] for step in doc["SecondaryStatusTransitions"]] == ["Starting", "Completed"]


def test_a_failed_job_ends_a_waiter(service: Service, training: Make) -> None:
    from botocore.exceptions import WaiterError

    sagemaker = service.client("sagemaker")
    sagemaker.create_training_job(**training())
    service.engine.end_training("job", "Failed")
    with pytest.raises(WaiterError, match="encountered a terminal failure state"):
        sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName="job")
    reason = sagemaker.describe_training_job(TrainingJobName="job")["FailureReason"]
    assert reason.startswith("AlgorithmError: ")


def test_private_members_never_leave(service: Service, training: Make) -> None:
    sagemaker = service.client("sagemaker")
    sagemaker.create_training_job(**training())
    service.store.update("training-job", "job", _Secret=1)
    assert "_Secret" not in sagemaker.describe_training_job(TrainingJobName="job")


def test_a_name_is_taken_whatever_its_case(service: Service, training: Make, refused: Refused) -> None:
    sagemaker = service.client("sagemaker")
    sagemaker.create_training_job(**training("Job"))
    for name in ("Job", "job"):
        message = refused(sagemaker.create_training_job, "ResourceInUse", **training(name))
        assert "already exists" in message
    assert service.engine.calls == [("submit training-job", "Job")]


def test_what_the_engine_refuses_is_not_left_behind(
    service: Service, training: Make, refused: Refused
) -> None:
    from local.errors import ResourceLimitExceeded

    sagemaker = service.client("sagemaker")
    service.engine.refusal = ResourceLimitExceeded("no more")
    tags = [{"Key": "a", "Value": "b"}]
    assert refused(sagemaker.create_training_job, "ResourceLimitExceeded", **training(Tags=tags)) == "no more"
    assert sagemaker.list_training_jobs()["TrainingJobSummaries"] == []
    assert list(service.store.each("tags")) == []


def test_a_job_that_is_not_there(service: Service, refused: Refused) -> None:
    sagemaker = service.client("sagemaker")
    # Waiters and many callers look for just these.
    message = refused(sagemaker.describe_training_job, "ValidationException", TrainingJobName="none")
    assert message == "Requested resource not found."
    refused(sagemaker.stop_training_job, "ResourceNotFound", TrainingJobName="none")


def test_stop(service: Service, training: Make, refused: Refused) -> None:
    sagemaker = service.client("sagemaker")
    sagemaker.create_training_job(**training())
    sagemaker.stop_training_job(TrainingJobName="job")
    assert sagemaker.describe_training_job(TrainingJobName="job")["TrainingJobStatus"] == "Stopping"
    sagemaker.stop_training_job(TrainingJobName="job")  # as on AWS, harmless while it stops
    service.engine.end_training("job", "Stopped")
    message = refused(sagemaker.stop_training_job, "ValidationException", TrainingJobName="job")
    assert "in status Stopped" in message
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName="job")


def test_delete(service: Service, training: Make, refused: Refused) -> None:
    sagemaker = service.client("sagemaker")
    refused(sagemaker.delete_training_job, "ResourceNotFound", TrainingJobName="job")
    sagemaker.create_training_job(**training())
    refused(sagemaker.delete_training_job, "ResourceInUse", TrainingJobName="job")
    service.engine.end_training("job", "Stopped")
    sagemaker.delete_training_job(TrainingJobName="job")
    assert sagemaker.list_training_jobs()["TrainingJobSummaries"] == []
    sagemaker.create_training_job(**training())  # its name is free


def test_a_tuning_job_keeps_its_training_jobs_until_it_has_ended(
    service: Service, training: Make, refused: Refused
) -> None:
    sagemaker = service.client("sagemaker")
    sagemaker.create_training_job(**training())
    service.engine.end_training("job", "Completed")
    store = service.engine.store
    store.mutate("training-job", "job", lambda doc: doc.update({"_TuningJobName": "tune"}))
    store.put("tuning-job", "tune", {"HyperParameterTuningJobStatus": "InProgress"})
    message = refused(sagemaker.delete_training_job, "ResourceInUse", TrainingJobName="job")
    assert "belongs to the tuning job tune, which is InProgress: wait for its end" in message
    store.put("tuning-job", "tune", {"HyperParameterTuningJobStatus": "Completed"})
    sagemaker.delete_training_job(TrainingJobName="job")


def test_a_warm_pool_is_updated_listed_and_in_the_way_of_a_deletion(
    service: Service, training: Make, refused: Refused
) -> None:
    sagemaker = service.client("sagemaker")
    update = sagemaker.update_training_job
    longer = {"ResourceConfig": {"KeepAlivePeriodInSeconds": 600}}
    refused(update, "ResourceNotFound", TrainingJobName="job", **longer)
    arn = sagemaker.create_training_job(**training())["TrainingJobArn"]
    assert "is InProgress" in refused(update, "ValidationException", TrainingJobName="job", **longer)
    service.engine.end_training("job", "Completed")
    service.store.update("training-job", "job", WarmPoolStatus={"Status": "Available"})
    assert update(TrainingJobName="job", **longer)["TrainingJobArn"] == arn
    assert service.engine.calls[-1] == ("keep_warm 600", "job")
    assert "changes nothing" in refused(update, "ValidationException", TrainingJobName="job")
    for members, says in (
        ({"ProfilerConfig": {"DisableProfiler": True}}, "changes neither profiler nor rules"),
        ({"RemoteDebugConfig": {"EnableRemoteDebug": True}}, "has no Systems Manager"),
    ):
        assert says in refused(update, "ValidationException", TrainingJobName="job", **members)
    for status, names in (("Available", ["job"]), ("InUse", [])):
        found = sagemaker.list_training_jobs(WarmPoolStatusEquals=status)["TrainingJobSummaries"]
        assert [each["TrainingJobName"] for each in found] == names
    [job] = sagemaker.list_training_jobs()["TrainingJobSummaries"]
    assert job["WarmPoolStatus"] == {"Status": "Available"}
    message = refused(sagemaker.delete_training_job, "ResourceInUse", TrainingJobName="job")
    assert "retains a warm pool that is Available" in message
    service.store.update("training-job", "job", WarmPoolStatus={"Status": "Terminated"})
    sagemaker.delete_training_job(TrainingJobName="job")


MACHINE = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
METRIC = {"Name": "loss", "Regex": "loss=(.*)"}
RULE = {"RuleConfigurationName": "LossNotDecreasing", "RuleEvaluatorImage": "byoc-train"}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"RoleArn": None}, "'roleArn' failed to satisfy constraint: Member must not be null"),
        ({"RoleArn": "me"}, "at 'roleArn' failed to satisfy constraint: Member must have length"),
        (
            {"TrainingJobName": "a_b"},
            "at 'trainingJobName' failed to satisfy constraint: Member must satisfy",
        ),
        ({"HyperParameters": {"a" * 257: "1"}}, "Map keys must satisfy constraint: [Member must have length"),
        ({"HyperParameters": {"lr": "1" * 2501}}, "Map values must satisfy constraint"),
        ({"ResourceConfig": None}, "ResourceConfig is missing"),
        (
            {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 0}},
            "ResourceConfig.InstanceCount is missing or 0",
        ),
        (
            {"ResourceConfig": {"InstanceType": "big", "InstanceCount": 1, "VolumeSizeInGB": 1}},
            "enum value set",
        ),
        (
            {"ResourceConfig": {"InstanceCount": 1, "VolumeSizeInGB": 1}},
            "ResourceConfig.InstanceType is missing",
        ),
        ({"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "TrainingImage is missing"),
        (
            {"OutputDataConfig": {"S3OutputPath": "https://bucket"}},
            "OutputDataConfig.S3OutputPath 'https://bucket'",
        ),
        ({"InputDataConfig": [channel("a"), channel("a")]}, "Duplicate channel name: a"),
        (
            {"InputDataConfig": [channel("a", S3Uri="https://b/c")]},
            "S3Uri of channel 'a' 'https://b/c' must be",
        ),
        ({"InputDataConfig": [{"ChannelName": "a", "DataSource": {}}]}, "Channel 'a' has no S3DataSource"),
        (
            {"InputDataConfig": [{**channel("a"), "InputMode": "Pipe"}]},
            "'a' has the InputMode Pipe: the local",
        ),
        ({"InputDataConfig": [{**channel("a"), "CompressionType": "Gzip"}]}, "upload the files uncompressed"),
        (
            {"InputDataConfig": [{**channel("a"), "RecordWrapperType": "RecordIO"}]},
            "RecordWrapperType RecordIO",
        ),
        ({"InputDataConfig": [channel("a", S3DataType="AugmentedManifestFile")]}, "use S3Prefix or Manifest"),
        (
            {"InputDataConfig": [{**channel("a"), "ShuffleConfig": {"Seed": 1}}]},
            "InputDataConfig.ShuffleConfig: the local SageMaker does not shuffle",
        ),
        ({"ResourceConfig": {**MACHINE, "KeepAlivePeriodInSeconds": 21601}}, "less than or equal to 21600"),
        (
            {
                "ResourceConfig": {**MACHINE, "KeepAlivePeriodInSeconds": 60},
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
            },
            "warm pools are not for spot capacity",
        ),
        (
            {"ResourceConfig": {**MACHINE, "InstanceCount": 2}},
            "InstanceCount is 2: the local SageMaker's process",
        ),
        ({"RetryStrategy": {"MaximumRetryAttempts": 31}}, "less than or equal to 30"),
        ({"ExperimentConfig": {"ExperimentName": "e"}}, "ExperimentConfig: the local SageMaker has no"),
        (
            {"RemoteDebugConfig": {"EnableRemoteDebug": True}},
            "RemoteDebugConfig.EnableRemoteDebug: the local",
        ),
        ({"Tags": [{"Key": "aws:x", "Value": "y"}]}, "Tag keys that begin with aws: are reserved: aws:x"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "greater than or equal to 1"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 2_500_000}}, "above the longest, 2419200"),
        (
            {"StoppingCondition": {"MaxWaitTimeInSeconds": 9}},
            "is for jobs with EnableManagedSpotTraining only",
        ),
        ({"EnableManagedSpotTraining": True}, "needs StoppingCondition.MaxWaitTimeInSeconds"),
        ({"DebugRuleConfigurations": [RULE]}, "need a DebugHookConfig or ProfilerConfig"),
        (
            {
                "DebugHookConfig": {"S3OutputPath": "s3://bucket/out"},
                "DebugRuleConfigurations": [RULE],
                "ProfilerRuleConfigurations": [RULE],
            },
            "Duplicate rule configuration name: LossNotDecreasing",
        ),
        (
            {"ProfilerConfig": {"S3OutputPath": "s3://b/x", "ProfilingIntervalInMilliseconds": 50}},
            "ProfilingIntervalInMilliseconds 50 is not one of 100, 200, 500, 1000, 5000, 60000",
        ),
        ({"CheckpointConfig": {"S3Uri": "https://bucket/x"}}, "CheckpointConfig.S3Uri"),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, "Duplicate tag keys: a"),
    ],
)
def test_refused_at_once(
    service: Service, training: Make, refused: Refused, members: dict[str, Any], expected: str
) -> None:
    request = training(**members)
    assert expected in refused(service.sagemaker.create_training_job, "ValidationException", **request)
    assert list(service.store.each("training-job")) == []
    assert service.engine.calls == []


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ([METRIC, METRIC], "Duplicate metric name: loss"),
        ([{"Name": "loss", "Regex": "(["}], "The Regex of metric 'loss' is not a regular expression"),
        ([{"Name": "loss", "Regex": "loss"}], "has no group"),
        ([{"Name": "loss", "Regex": r"(\d+)+;"}], "metric 'loss' repeats a part that has repeats"),
    ],
)
def test_metrics_that_would_find_nothing(
    service: Service,
    training: Make,
    refused: Refused,
    image: str,
    metrics: list[dict[str, str]],
    expected: str,
) -> None:
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "MetricDefinitions": metrics}
    request = training(AlgorithmSpecification=algorithm)
    assert expected in refused(service.sagemaker.create_training_job, "ValidationException", **request)


def test_a_pipe_for_the_whole_job(service: Service, training: Make, image: str, refused: Refused) -> None:
    algorithm = {"TrainingImage": image, "TrainingInputMode": "Pipe"}
    request = training(AlgorithmSpecification=algorithm, InputDataConfig=[channel("a")])
    message = refused(service.sagemaker.create_training_job, "ValidationException", **request)
    assert "InputMode Pipe" in message
    request["InputDataConfig"][0]["InputMode"] = "File"
    service.sagemaker.create_training_job(**request)


def test_what_is_switched_off_is_not_refused(service: Service, training: Make) -> None:
    machine = {**MACHINE, "KeepAlivePeriodInSeconds": 0}
    request = training(ResourceConfig=machine, RemoteDebugConfig={"EnableRemoteDebug": False})
    service.sagemaker.create_training_job(**request)


def test_an_entrypoint_needs_an_opt_ml_of_its_own(
    service: Service, training: Make, image: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "ContainerArguments": ["x"]}
    create = service.sagemaker.create_training_job
    request = training(AlgorithmSpecification=algorithm)
    assert "to a ContainerEntrypoint only" in refused(create, "ValidationException", **request)
    algorithm["ContainerEntrypoint"] = ["/bin/sh"]
    monkeypatch.setattr(optml, "works", lambda: False)
    assert "use --runtime docker" in refused(create, "ValidationException", **request)
    monkeypatch.setattr(optml, "works", lambda: True)
    create(**request)


def test_a_job_without_a_model_says_so_by_silence(service: Service, training: Make) -> None:
    """Clients that find ModelArtifacts read S3ModelArtifacts in it."""
    service.sagemaker.create_training_job(**training())
    answer = service.sagemaker.describe_training_job(TrainingJobName="job")
    assert "ModelArtifacts" not in answer
    assert answer["OutputDataConfig"] == {"KmsKeyId": "", "S3OutputPath": "s3://bucket/out"}


def test_a_metric_with_a_group_named_as_in_java(service: Service, training: Make, image: str) -> None:
    metrics = [{"Name": "loss", "Regex": r"loss=(?<value>\S+)"}]
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "MetricDefinitions": metrics}
    service.sagemaker.create_training_job(**training(AlgorithmSpecification=algorithm))


def test_several_mistakes_are_told_at_once(service: Service, training: Make, refused: Refused) -> None:
    request = training(TrainingJobName="a_b", RoleArn=None)
    message = refused(service.sagemaker.create_training_job, "ValidationException", **request)
    assert message.startswith("2 validation errors detected: ")


def test_rules_begin_in_progress(service: Service, training: Make) -> None:
    sagemaker = service.client("sagemaker")
    sagemaker.create_training_job(
        **training(
            DebugHookConfig={"S3OutputPath": "s3://bucket/out"},
            DebugRuleConfigurations=[RULE],
            ProfilerConfig={"S3OutputPath": "s3://bucket/out"},
        )
    )
    doc = sagemaker.describe_training_job(TrainingJobName="job")
    [status] = doc["DebugRuleEvaluationStatuses"]
    assert status["RuleConfigurationName"] == "LossNotDecreasing"
    assert status["RuleEvaluationStatus"] == "InProgress"
    assert status["RuleEvaluationJobArn"].endswith(":processing-job/job-rules")
    assert doc["ProfilingStatus"] == "Enabled"


# --- ListTrainingJobs ---------------------------------------------------------------------------------


@pytest.fixture
def jobs(service: Service, training: Make) -> Service:
    """25 jobs, `job-00` the oldest; every fifth has failed."""
    for number in range(25):
        doc = training_document(service.config, training(f"job-{number:02d}"))
        doc["CreationTime"] = 1_700_000_000.25 + number
        if number % 5 == 0:
            fail(doc, "AlgorithmError: out of luck")
        service.store.put("training-job", doc["TrainingJobName"], doc)
    return service


def names(answer: dict[str, Any]) -> list[str]:
    return [job["TrainingJobName"] for job in answer["TrainingJobSummaries"]]


def test_pages(jobs: Service) -> None:
    sagemaker = jobs.client("sagemaker")
    first = sagemaker.list_training_jobs()
    assert names(first) == [f"job-{number:02d}" for number in range(10)]
    pages = list(sagemaker.get_paginator("list_training_jobs").paginate(SortOrder="Descending", MaxResults=7))
    assert [len(names(page)) for page in pages] == [7, 7, 7, 4]
    assert [name for page in pages for name in names(page)] == [
        f"job-{number:02d}" for number in reversed(range(25))
    ]
    assert "NextToken" not in pages[-1]


def test_a_page_is_not_shifted_by_a_new_job(jobs: Service, training: Make) -> None:
    sagemaker = jobs.client("sagemaker")
    first = sagemaker.list_training_jobs(SortOrder="Descending", MaxResults=2)
    assert names(first) == ["job-24", "job-23"]
    sagemaker.create_training_job(**training("new"))
    second = sagemaker.list_training_jobs(SortOrder="Descending", MaxResults=2, NextToken=first["NextToken"])
    assert names(second) == ["job-22", "job-21"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"StatusEquals": "Failed"}, ["job-00", "job-05", "job-10", "job-15", "job-20"]),
        ({"NameContains": "B-1", "MaxResults": 3}, ["job-10", "job-11", "job-12"]),
        ({"SortBy": "Name", "SortOrder": "Descending", "MaxResults": 2}, ["job-24", "job-23"]),
        ({"SortBy": "Status", "MaxResults": 1}, ["job-00"]),
        ({"CreationTimeAfter": 1_700_000_022}, ["job-22", "job-23", "job-24"]),
        ({"CreationTimeBefore": 1_700_000_002}, ["job-00", "job-01"]),
        ({"LastModifiedTimeBefore": 1_700_000_000}, []),
        ({"WarmPoolStatusEquals": "Available"}, []),
    ],
)
def test_filters_and_order(jobs: Service, asked: dict[str, Any], expected: list[str]) -> None:
    assert names(jobs.client("sagemaker").list_training_jobs(**asked)) == expected


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "bm9uc2Vuc2U=",
        "WzEsIDJd",
        "bnVsbA==",
        "é",
        *(
            base64.b64encode(text).decode()
            for text in (b"[" * 5000, b'[1%s, "job-1"]' % (b"0" * 400), b'[1, "\\ud800"]')
        ),
    ],
    ids=lambda token: token[:8],
)
def test_a_token_that_is_none(jobs: Service, refused: Refused, token: str) -> None:
    message = refused(jobs.sagemaker.list_training_jobs, "ValidationException", NextToken=token)
    assert message.startswith("Invalid NextToken")


def test_a_token_with_a_large_number_is_a_place(jobs: Service) -> None:
    token = base64.b64encode(b'[1%s, "job-1"]' % (b"0" * 30)).decode()
    assert names(jobs.client("sagemaker").list_training_jobs(NextToken=token, SortOrder="Ascending")) == []


def test_a_token_of_another_order(jobs: Service, refused: Refused) -> None:
    token = jobs.sagemaker.list_training_jobs(MaxResults=1)["NextToken"]
    refused(jobs.sagemaker.list_training_jobs, "ValidationException", NextToken=token, SortBy="Name")
