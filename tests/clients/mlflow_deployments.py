"""What users of mlflow write who deploy to SageMaker. `python mlflow_deployments.py NAME IMAGE ROLE`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import boto3
import mlflow.pyfunc
import mlflow.sagemaker
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException
from scripted import fails

_NAME, IMAGE, ROLE = sys.argv[1:]
REGION = "us-east-1"
ROWS = [[1, 2], [3, 4]]

sagemaker = boto3.client("sagemaker", region_name=REGION)
s3 = boto3.client("s3", region_name=REGION)


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context: object, model_input: list[str]) -> list[str]:
        return model_input


def saved(folder: str) -> str:
    mlflow.pyfunc.save_model(folder, python_model=Echo(), pip_requirements=[])
    return folder


def settings(by: str, **more: object) -> dict[str, object]:
    return {
        "image_url": IMAGE,
        "execution_role_arn": ROLE,
        "bucket": "mlflow-models",
        "instance_type": "ml.m5.large",
        "env": {"BY": by},
        **more,
    }


def models(part: str) -> list[str]:
    return [each["ModelName"] for each in sagemaker.list_models(NameContains=part)["Models"]]


def deploy() -> None:
    """create, get, list, predict, update in both modes, delete: nothing is left."""
    s3.create_bucket(Bucket="mlflow-models")
    client = get_deploy_client(f"sagemaker:/{REGION}")
    name, model = "mlflow-deployed", saved("model")
    made = client.create_deployment(name, model, config=settings("first", tags={"team": "vision"}))
    assert made == {"name": name, "flavor": "python_function"}, made
    described = client.get_deployment(name)
    assert described["EndpointStatus"] == "InService", described
    assert name in [each["EndpointName"] for each in client.list_deployments()]
    answer = client.predict(name, ROWS)
    assert (answer["predictions"], answer["by"]) == (ROWS, "first"), answer
    tags = {
        each["Key"]: each["Value"]
        for each in sagemaker.list_tags(ResourceArn=described["EndpointArn"])["Tags"]
    }
    assert tags["team"] == "vision", tags
    [object_] = s3.list_objects_v2(Bucket="mlflow-models")["Contents"]
    tagged = s3.get_object_tagging(Bucket="mlflow-models", Key=object_["Key"])["TagSet"]
    assert tagged == [{"Key": "SageMaker", "Value": "true"}], tagged
    with fails(MlflowException, "already exists"):
        client.create_deployment(name, model, config=settings("second"))
    [old] = models(name)
    client.update_deployment(name, model, config=settings("second", mode="replace"))
    assert client.predict(name, ROWS)["by"] == "second"
    assert old not in models(name)
    # Beside the one that is there, and without a part of the requests.
    client.update_deployment(name, model, config=settings("third", mode="add"))
    assert {client.predict(name, ROWS)["by"] for _ in range(8)} == {"second"}
    variants = client.get_deployment(name)["ProductionVariants"]
    assert sorted(each["CurrentWeight"] for each in variants) == [0, 1], variants
    client.delete_deployment(name)
    with fails(MlflowException, "Could not find endpoint"):
        client.get_deployment(name)
    assert models(name) == []
    assert "Contents" not in s3.list_objects_v2(Bucket="mlflow-models")


def assumed_role() -> None:
    """Role, image and bucket as mlflow finds them itself, with a role of another name assumed."""
    repository = boto3.client("ecr", region_name=REGION)
    with fails(repository.exceptions.RepositoryNotFoundException, "mlflow-pyfunc"):
        repository.describe_repositories(repositoryNames=["mlflow-pyfunc"])
    client = get_deploy_client(f"sagemaker:/{REGION}/arn:aws:iam::123456789012:role/any-other")
    with fails(Exception, "mlflow-pyfunc"):
        client.create_deployment("mlflow-no-image", saved("model"))
    client.create_deployment("mlflow-assumed", "model", config={"image_url": IMAGE})
    assert client.predict("mlflow-assumed", ROWS)["predictions"] == ROWS
    [model] = models("mlflow-assumed")
    described = sagemaker.describe_model(ModelName=model)
    assert described["ExecutionRoleArn"].endswith(":role/any-other"), described
    address = described["PrimaryContainer"]["ModelDataUrl"]
    assert address.startswith("s3://mlflow-sagemaker-us-east-1-123456789012/"), address
    client.delete_deployment("mlflow-assumed")


def refused() -> None:
    """What is not done is refused when it is asked for, and mlflow hands the sentence on."""
    s3.create_bucket(Bucket="mlflow-models")
    client, model = get_deploy_client(f"sagemaker:/{REGION}"), saved("model")
    asynchronous = {"OutputConfig": {"S3OutputPath": "s3://mlflow-models/out"}}
    for member, value in (
        ("data_capture_config", {"EnableCapture": True, "InitialSamplingPercentage": 100,
                                 "DestinationS3Uri": "s3://mlflow-models/c",
                                 "CaptureOptions": [{"CaptureMode": "Input"}]}),
        ("async_inference_config", asynchronous),
    ):  # fmt: skip
        with fails(Exception, "DataCaptureConfig", "AsyncInferenceConfig"):
            client.create_deployment("mlflow-refused", model, config=settings("x", **{member: value}))
    with fails(MlflowException, "not found"):
        client.predict("mlflow-refused", ROWS)


def transform() -> None:
    """A batch transform job, and its end."""
    s3.create_bucket(Bucket="mlflow-models")
    s3.put_object(Bucket="mlflow-models", Key="in/a.txt", Body=b"one\ntwo\n")
    mlflow.sagemaker.deploy_transform_job(
        "mlflow-batch", saved("model"), "S3Prefix", "s3://mlflow-models/in/", "text/plain",
        "s3://mlflow-models/answers", execution_role_arn=ROLE, bucket="mlflow-models", image_url=IMAGE,
        region_name=REGION, split_type="Line", assemble_with="Line", instance_type="ml.m5.large",
        archive=True,
    )  # fmt: skip
    body = s3.get_object(Bucket="mlflow-models", Key="answers/a.txt.out")["Body"].read()
    assert body.startswith(b"echo one\n"), body


def command() -> None:
    """The command line."""
    s3.create_bucket(Bucket="mlflow-models")
    target = ["--target", f"sagemaker:/{REGION}"]

    def run(*words: str) -> str:
        program = Path(sys.executable).with_name("mlflow")
        done = subprocess.run(
            [program, "deployments", *words, *target], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    options = {key: value for key, value in settings("cli").items() if key != "env"}
    run(
        "create", "--name", "mlflow-cli", "--model-uri", saved("model"),
        *(word for key, value in options.items() for word in ("-C", f"{key}={value}")),
    )  # fmt: skip
    assert "mlflow-cli" in run("list")
    run("delete", "--name", "mlflow-cli")


if __name__ == "__main__":
    globals()[_NAME]()
