"""Plain boto3 and the `aws` command line against a running local SageMaker."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from scripts import localservice

if TYPE_CHECKING:
    from conftest import Service

FAST = {"Delay": 1, "MaxAttempts": 60}


def aws(service: Service, *arguments: str) -> Any:
    """What the command line answers, parsed."""
    program = Path(sys.executable).with_name("aws")
    result = subprocess.run(
        [program, *arguments, "--output", "json"],
        env=service.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout or "null")


def refused(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


@pytest.fixture(scope="module")
def trained(service: Service) -> str:
    sagemaker = service.client("sagemaker")
    sagemaker.create_training_job(**service.training("trained", lr="0.5"))
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName="trained", WaiterConfig=FAST
    )
    return "trained"


def test_a_training_job_leaves_its_model_metrics_and_log(service: Service, trained: str) -> None:
    job = service.client("sagemaker").describe_training_job(TrainingJobName=trained)
    assert job["TrainingJobStatus"] == "Completed"
    assert [step["Status"] for step in job["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert {item["MetricName"]: item["Value"] for item in job["FinalMetricDataList"]} == {"score": 0.5}
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://bucket/")
    assert key == "out/trained/output/model.tar.gz"
    assert service.client("s3").head_object(Bucket="bucket", Key=key)["ContentLength"] > 0
    events = service.client("logs").filter_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix="trained/"
    )["events"]
    assert "score=0.5" in [event["message"] for event in events]


def test_the_command_line_lists_and_describes(service: Service, trained: str) -> None:
    listed = aws(service, "sagemaker", "list-training-jobs", "--name-contains", trained)
    assert [job["TrainingJobStatus"] for job in listed["TrainingJobSummaries"]] == ["Completed"]
    job = aws(service, "sagemaker", "describe-training-job", "--training-job-name", trained)
    assert job["HyperParameters"] == {"lr": "0.5"}
    assert aws(service, "sts", "get-caller-identity")["Account"] == "123456789012"
    buckets = aws(service, "s3api", "list-buckets")
    assert "bucket" in [bucket["Name"] for bucket in buckets["Buckets"]]


def test_a_failed_job_says_why(service: Service) -> None:
    sagemaker = service.client("sagemaker")
    sagemaker.create_training_job(**service.training("failing", fail="the pictures are missing"))
    with pytest.raises(WaiterError):
        sagemaker.get_waiter("training_job_completed_or_stopped").wait(
            TrainingJobName="failing", WaiterConfig=FAST
        )
    job = sagemaker.describe_training_job(TrainingJobName="failing")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: the pictures are missing")


def test_an_endpoint_answers_and_goes(service: Service, trained: str) -> None:
    sagemaker, runtime = service.client("sagemaker"), service.client("sagemaker-runtime")
    model = f"s3://bucket/out/{trained}/output/model.tar.gz"
    sagemaker.create_model(
        ModelName="m",
        PrimaryContainer={"Image": service.image, "ModelDataUrl": model},
        ExecutionRoleArn=service.role,
    )
    variant = {
        "VariantName": "all",
        "ModelName": "m",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e", WaiterConfig=FAST)
    answer = runtime.invoke_endpoint(EndpointName="e", Body=b"hello", ContentType="text/plain")
    assert answer["Body"].read() == b"echo hello"
    assert answer["InvokedProductionVariant"] == "all"
    with pytest.raises(ClientError) as caught:
        runtime.invoke_endpoint(EndpointName="e", Body=b"text")
    assert caught.value.response["Error"]["Code"] == "ModelError"
    assert caught.value.response["OriginalStatusCode"] == 415  # type: ignore[typeddict-item]
    sagemaker.delete_endpoint(EndpointName="e")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="e", WaiterConfig=FAST)
    sagemaker.delete_endpoint_config(EndpointConfigName="c")
    sagemaker.delete_model(ModelName="m")
    assert refused(runtime.invoke_endpoint, EndpointName="e", Body=b"") == "ValidationError"


def transform_job(service: Service, name: str, trained: str) -> dict[str, Any]:
    """A CreateTransformJob request for the lines below in/ in the bucket, over a model of its own."""
    service.client("sagemaker").create_model(
        ModelName=name,
        PrimaryContainer={
            "Image": service.image,
            "ModelDataUrl": f"s3://bucket/out/{trained}/output/model.tar.gz",
        },
        ExecutionRoleArn=service.role,
    )
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://bucket/{name}/in/"}}
    return {
        "TransformJobName": name,
        "ModelName": name,
        "BatchStrategy": "SingleRecord",
        "TransformInput": {"DataSource": source, "ContentType": "text/plain", "SplitType": "Line"},
        "TransformOutput": {"S3OutputPath": f"s3://bucket/{name}/answers", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }


def test_a_transform_job_answers_line_by_line(service: Service, trained: str) -> None:
    sagemaker, s3 = service.client("sagemaker"), service.client("s3")
    for key, body in (("a.txt", b"one\ntwo\n"), ("deep/b.txt", b"three")):
        s3.put_object(Bucket="bucket", Key=f"batch/in/{key}", Body=body)
    sagemaker.create_transform_job(**transform_job(service, "batch", trained))
    sagemaker.get_waiter("transform_job_completed_or_stopped").wait(
        TransformJobName="batch", WaiterConfig=FAST
    )
    answers = {
        item["Key"]: s3.get_object(Bucket="bucket", Key=item["Key"])["Body"].read()
        for item in s3.list_objects_v2(Bucket="bucket", Prefix="batch/answers/")["Contents"]
    }
    assert answers == {
        "batch/answers/a.txt.out": b"echo one\necho two\n",
        "batch/answers/deep/b.txt.out": b"echo three\n",
    }
    listed = aws(service, "sagemaker", "list-transform-jobs", "--name-contains", "batch")
    assert [job["TransformJobStatus"] for job in listed["TransformJobSummaries"]] == ["Completed"]
    job = aws(service, "sagemaker", "describe-transform-job", "--transform-job-name", "batch")
    assert job["TransformInput"]["SplitType"] == "Line"
    streams = service.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TransformJobs", logStreamNamePrefix="batch/"
    )["logStreams"]
    assert [stream["logStreamName"].endswith("/data-log") for stream in streams] == [False, True]


def test_a_transform_job_with_a_bad_record_fails_and_keeps_the_other_outputs(
    service: Service, trained: str
) -> None:
    sagemaker, s3 = service.client("sagemaker"), service.client("s3")
    for key, body in (("bad", b"text"), ("good", b"x")):
        s3.put_object(Bucket="bucket", Key=f"mixed/in/{key}", Body=body)
    sagemaker.create_transform_job(**transform_job(service, "mixed", trained))
    with pytest.raises(WaiterError):
        sagemaker.get_waiter("transform_job_completed_or_stopped").wait(
            TransformJobName="mixed", WaiterConfig=FAST
        )
    reason = sagemaker.describe_transform_job(TransformJobName="mixed")["FailureReason"]
    assert reason.startswith("ClientError: 1 of 2 input objects")
    assert "s3://bucket/mixed/in/bad: 415" in reason
    found = s3.list_objects_v2(Bucket="bucket", Prefix="mixed/answers/")["Contents"]
    assert [item["Key"] for item in found] == ["mixed/answers/good.out"]


def test_what_does_not_exist_or_exists_already(service: Service, trained: str) -> None:
    sagemaker = service.client("sagemaker")
    assert refused(sagemaker.describe_training_job, TrainingJobName="none") == "ValidationException"
    assert refused(sagemaker.describe_endpoint, EndpointName="none") == "ValidationException"
    assert refused(sagemaker.describe_transform_job, TransformJobName="none") == "ValidationException"
    assert refused(sagemaker.stop_training_job, TrainingJobName="none") == "ResourceNotFound"
    assert refused(sagemaker.stop_transform_job, TransformJobName="none") == "ResourceNotFound"
    assert refused(sagemaker.create_training_job, **service.training(trained)) == "ResourceInUse"
    assert refused(sagemaker.list_domains) == "UnknownOperationException"


def test_a_web_page_is_refused(service: Service) -> None:
    for headers in ({"Origin": "http://example.com"}, {"Host": "rebound.example.com"}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(f"{service.url}/health", headers=headers))
        with caught.value as answer:
            assert answer.code == 403


def test_a_restart_keeps_everything_and_fails_what_ran(start: Callable[[Path | None], Service]) -> None:
    first = start(None)
    first.client("s3").create_bucket(Bucket="bucket")
    first.client("sagemaker").create_training_job(**first.training("before"))
    first.client("sagemaker").get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName="before", WaiterConfig=FAST
    )
    first.client("ecr").create_repository(repositoryName="kept")
    localservice.down(first.home)
    again = start(first.home)
    job = again.client("sagemaker").describe_training_job(TrainingJobName="before")
    assert job["TrainingJobStatus"] == "Completed"
    key = "out/before/output/model.tar.gz"
    assert again.client("s3").get_object(Bucket="bucket", Key=key)["Body"].read()
    repositories = again.client("ecr").describe_repositories()["repositories"]
    assert [item["repositoryName"] for item in repositories] == ["kept"]
    localservice.down(again.home)
