from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Service = Any  # conftest.Service
Refused = Callable[..., str]


def request(name: str = "job", **members: Any) -> dict[str, Any]:
    return {
        "TransformJobName": name,
        "ModelName": "m",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}},
            "ContentType": "text/csv",
        },
        "TransformOutput": {"S3OutputPath": "s3://bucket/out", "Accept": "text/csv"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **members,
    }


@pytest.fixture
def modelled(service: Service) -> Service:
    """A service with the model `m`."""
    role = "arn:aws:iam::123456789012:role/byoc-sagemaker"
    service.client("sagemaker").create_model(
        ModelName="m", PrimaryContainer={"Image": "byoc-serve"}, ExecutionRoleArn=role
    )
    return service


def test_a_job_lives_and_is_described_as_it_was_asked_for(modelled: Service) -> None:
    sagemaker = modelled.client("sagemaker")
    asked = request(
        MaxConcurrentTransforms=2,
        MaxPayloadInMB=3,
        BatchStrategy="SingleRecord",
        Environment={"A": "b"},
        Tags=[{"Key": "k", "Value": "v"}],
    )
    arn = sagemaker.create_transform_job(**asked)["TransformJobArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:123456789012:transform-job/job"
    assert modelled.engine.calls == [("submit transform-job", "job")]
    doc = sagemaker.describe_transform_job(TransformJobName="job")
    assert doc["TransformJobStatus"] == "InProgress"
    assert {key: doc[key] for key in asked if key != "Tags"} == {
        key: value for key, value in asked.items() if key != "Tags"
    }
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == asked["Tags"]
    modelled.store.update("transform-job", "job", TransformJobStatus="Completed")
    sagemaker.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName="job")


def test_a_failed_job_ends_the_waiter(modelled: Service) -> None:
    from botocore.exceptions import WaiterError

    sagemaker = modelled.client("sagemaker")
    sagemaker.create_transform_job(**request())
    modelled.store.update("transform-job", "job", TransformJobStatus="Failed", FailureReason="no ping")
    with pytest.raises(WaiterError, match="terminal failure state"):
        sagemaker.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName="job")
    assert sagemaker.describe_transform_job(TransformJobName="job")["FailureReason"] == "no ping"


def test_jobs_are_listed_newest_first_and_filtered(modelled: Service) -> None:
    sagemaker = modelled.client("sagemaker")
    for name in ("a", "b", "c"):
        sagemaker.create_transform_job(**request(name))
    modelled.store.update("transform-job", "b", TransformJobStatus="Stopped")

    def listed(**filters: Any) -> list[str]:
        pages = sagemaker.get_paginator("list_transform_jobs").paginate(
            PaginationConfig={"PageSize": 2}, **filters
        )
        return [item["TransformJobName"] for page in pages for item in page["TransformJobSummaries"]]

    assert listed() == ["c", "b", "a"]
    assert listed(StatusEquals="Stopped") == ["b"]
    assert listed(NameContains="C") == ["c"]


def test_stopping(modelled: Service, refused: Refused) -> None:
    sagemaker = modelled.client("sagemaker")
    refused(sagemaker.stop_transform_job, "ResourceNotFound", TransformJobName="job")
    sagemaker.create_transform_job(**request())
    sagemaker.stop_transform_job(TransformJobName="job")
    assert sagemaker.describe_transform_job(TransformJobName="job")["TransformJobStatus"] == "Stopping"
    modelled.store.update("transform-job", "job", TransformJobStatus="Stopped")
    message = refused(sagemaker.stop_transform_job, "ValidationException", TransformJobName="job")
    assert "in status Stopped" in message


def test_what_is_not_there_and_what_is_there_already(modelled: Service, refused: Refused) -> None:
    sagemaker = modelled.client("sagemaker")
    message = refused(sagemaker.describe_transform_job, "ValidationException", TransformJobName="job")
    assert message == "Could not find requested job with name: job"
    message = refused(sagemaker.create_transform_job, "ValidationException", **request(ModelName="none"))
    assert message.startswith("Could not find model")
    sagemaker.create_transform_job(**request())
    for name in ("job", "JOB"):
        message = refused(sagemaker.create_transform_job, "ResourceInUse", **request(name))
        assert "already exists" in message


def test_a_job_survives_a_restart_of_the_service(modelled: Service) -> None:
    modelled.client("sagemaker").create_transform_job(**request())
    modelled.restart()
    doc = modelled.client("sagemaker").describe_transform_job(TransformJobName="job")
    assert doc["ModelName"] == "m"


def source(**members: Any) -> dict[str, Any]:
    return {"TransformInput": {**request()["TransformInput"], **members}}


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"MaxPayloadInMB": 101}, "100 at most"),
        ({"MaxPayloadInMB": 51, "MaxConcurrentTransforms": 2}, "is 102"),
        ({"MaxConcurrentTransforms": 17}, "is 102"),
        ({"MaxPayloadInMB": 0, **source(SplitType="Line")}, "needs SplitType None"),
        (source(SplitType="RecordIO"), "RecordIO"),
        (source(SplitType="TFRecord"), "TFRecord"),
        (
            source(
                DataSource={"S3DataSource": {"S3DataType": "AugmentedManifestFile", "S3Uri": "s3://bucket/x"}}
            ),
            "ManifestFile",
        ),
        ({"TransformOutput": {"S3OutputPath": "https://bucket/out"}}, "S3OutputPath"),
        ({"DataCaptureConfig": {"DestinationS3Uri": "s3://bucket/x"}}, "DataCaptureConfig"),
        ({"DataProcessing": {"JoinSource": "Input"}}, "SplitType Line"),
        (
            {"DataProcessing": {"JoinSource": "Input"}, **source(ContentType="image/png")},
            "ContentType is 'image/png'",
        ),
        ({"DataProcessing": {"InputFilter": "$[0]"}, **source(ContentType="application/json")}, "one format"),
        (
            {
                "DataProcessing": {"OutputFilter": "$..x"},
                "TransformOutput": {
                    "S3OutputPath": "s3://bucket/out",
                    "Accept": "text/csv",
                    "AssembleWith": "Line",
                },
                **source(SplitType="Line"),
            },
            "JSONPath",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    modelled: Service, refused: Refused, members: dict[str, Any], says: str
) -> None:
    message = refused(modelled.sagemaker.create_transform_job, "ValidationException", **request(**members))
    assert says in message
    assert modelled.engine.calls == []
