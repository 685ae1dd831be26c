"""What is refused of a WarmStartConfig, as AWS's documents have it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from local.jobs.documents import training_document
from tests.local.api.conftest import BATCH, LR, warm

Service = Any  # conftest.Service
Make = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

DATA = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/train"}}
OTHER = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/other"}}
MOMENTUM = {"Name": "momentum", "MinValue": "0", "MaxValue": "0.9"}


@pytest.fixture
def parent(service: Service, tuning: Make) -> str:
    """A tuning job that is over; its name."""
    definition = {"InputDataConfig": [{"ChannelName": "train", "DataSource": DATA}]}
    service.client("sagemaker").create_hyper_parameter_tuning_job(**tuning("parent", definition))
    service.store.update("tuning-job", "parent", HyperParameterTuningJobStatus="Completed")
    return "parent"


def same(tuning: Make, **members: Any) -> dict[str, Any]:
    definition = {"InputDataConfig": [{"ChannelName": "train", "DataSource": DATA}]}
    request = tuning("child", definition, **warm("parent"))
    return {**request, **members}


def test_a_parent_that_is_over_is_taken(service: Service, tuning: Make, parent: str) -> None:
    sagemaker = service.client("sagemaker")
    sagemaker.create_hyper_parameter_tuning_job(**same(tuning))
    doc = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="child")
    assert doc["WarmStartConfig"] == warm("parent")["WarmStartConfig"]


@pytest.mark.parametrize("status", ["InProgress", "Stopping"])
def test_a_parent_that_runs_is_refused(
    service: Service,
    tuning: Make,
    parent: str,
    refused: Refused,
    status: str,
) -> None:
    service.store.update("tuning-job", parent, HyperParameterTuningJobStatus=status)
    create = service.sagemaker.create_hyper_parameter_tuning_job
    assert f"the parent parent is {status}" in refused(create, "ValidationException", **same(tuning))


def change(request: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The request with another value at a path whose parts are divided by dots."""
    request = copy.deepcopy(request)
    *above, last = path.split(".")
    place: Any = request
    for part in above:
        place = place[int(part) if part.isdecimal() else part]
    place[last] = value
    return request


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("WarmStartConfig", warm("parent", "parent")["WarmStartConfig"], "Duplicate parent tuning job"),
        (
            "HyperParameterTuningJobConfig.HyperParameterTuningJobObjective.Type",
            "Minimize",
            "the objective of the parent parent is Maximize accuracy, and this one's is Minimize accuracy",
        ),
        (
            "HyperParameterTuningJobConfig.ParameterRanges.ContinuousParameterRanges",
            [LR, MOMENTUM],
            "has 3 static and tunable hyperparameters, and this tuning job 4 (more: momentum; missing: none)",
        ),
        (
            "HyperParameterTuningJobConfig.ParameterRanges",
            {
                "ContinuousParameterRanges": [LR],
                "IntegerParameterRanges": [{"Name": "batch_size", "MinValue": "16", "MaxValue": "32"}],
            },
            "batch_size is categorical in the parent parent and integer here",
        ),
        (
            "TrainingJobDefinition.InputDataConfig",
            [{"ChannelName": "train", "DataSource": OTHER}],
            "was given other data: take the same InputDataConfig, or TransferLearning",
        ),
        (
            "TrainingJobDefinition.AlgorithmSpecification.TrainingImage",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/other:latest",
            "take the same image, or TransferLearning",
        ),
    ],
)
def test_what_aws_forbids(
    service: Service,
    tuning: Make,
    parent: str,
    refused: Refused,
    path: str,
    value: Any,
    expected: str,
) -> None:
    create = service.sagemaker.create_hyper_parameter_tuning_job
    assert expected in refused(create, "ValidationException", **change(same(tuning), path, value))


def test_transfer_takes_other_data_another_image_and_another_version(
    service: Service,
    tuning: Make,
    parent: str,
    image: str,
) -> None:
    sagemaker = service.sagemaker
    specification = "TrainingJobDefinition.AlgorithmSpecification.TrainingImage"
    newer = change(same(tuning), specification, image.replace(":latest", ":2"))
    sagemaker.create_hyper_parameter_tuning_job(**newer)
    other = change(same(tuning), specification, image.replace("byoc", "other"))
    other["WarmStartConfig"]["WarmStartType"] = "TransferLearning"
    other["TrainingJobDefinition"]["InputDataConfig"] = [{"ChannelName": "train", "DataSource": OTHER}]
    sagemaker.create_hyper_parameter_tuning_job(**{**other, "HyperParameterTuningJobName": "other"})


def test_a_tuned_hyperparameter_may_become_static_and_at_most_ten_changes_are_allowed(
    service: Service,
    tuning: Make,
    refused: Refused,
) -> None:
    names = [f"h{number}" for number in range(6)]
    create = service.sagemaker.create_hyper_parameter_tuning_job
    create(**tuning("parent", {"StaticHyperParameters": dict.fromkeys(names, "1")}))
    service.store.update("tuning-job", "parent", HyperParameterTuningJobStatus="Stopped")
    only_lr = {"ContinuousParameterRanges": [LR]}

    def child(changed: int) -> dict[str, Any]:
        static = {name: "2" if place < changed else "1" for place, name in enumerate(names)}
        static |= {"batch_size": BATCH["Values"][0]}  # two values were tried: two changes
        return tuning("child", {"StaticHyperParameters": static}, ParameterRanges=only_lr, **warm("parent"))

    assert "12 changes of static hyperparameters" in refused(create, "ValidationException", **child(5))
    create(**child(4))


def test_the_training_jobs_of_the_parents_count_against_the_limit(
    service: Service,
    tuning: Make,
    training: Make,
    parent: str,
    refused: Refused,
) -> None:
    arn = service.config.arn("tuning-job", parent)
    child = training_document(service.config, training("parent-001"), tuning_job_arn=arn)
    service.store.put("training-job", "parent-001", child)
    create = service.sagemaker.create_hyper_parameter_tuning_job
    limits = {"MaxNumberOfTrainingJobs": 750, "MaxParallelTrainingJobs": 1}
    request = change(same(tuning), "HyperParameterTuningJobConfig.ResourceLimits", limits)
    assert "with the 1 of the parent tuning jobs" in refused(create, "ResourceLimitExceeded", **request)
    limits["MaxNumberOfTrainingJobs"] = 749
    create(**request)
