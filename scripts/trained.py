"""What a training job computed on the test set, and whether that is still the test set in S3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract import s3
from contract.errors import ByocError
from report.read import jobs
from report.read.artifacts import Unreadable, read_members
from report.read.aws import objects

if TYPE_CHECKING:
    from scripts.aws import Clients


@dataclass(frozen=True)
class Trained:
    """What the training of a model ended with."""

    accuracy: float
    """test:accuracy."""
    same_pictures: bool
    """Whether the test set is what it was, as far as dates and numbers show."""


def of_endpoint(clients: Clients, endpoint: str, test_uri: str) -> Trained | str:
    """`of_model` for the model behind an endpoint's first variant."""
    from botocore.exceptions import ClientError

    sagemaker = clients.sagemaker
    try:
        config = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
        variant = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0]
        model = variant["ModelName"]
    except (ClientError, KeyError, IndexError):
        return f"The model of the endpoint {endpoint} is not known"
    return of_model(clients, model, test_uri)


def of_model(clients: Clients, model: str, test_uri: str) -> Trained | str:
    """Of the training job that a model comes from; the reason where that is unknown.

    Args:
        test_uri: where the test set lies now.
    """
    from botocore.exceptions import ClientError

    try:
        described = clients.sagemaker.describe_model(ModelName=model)
        artifact = described["PrimaryContainer"]["ModelDataUrl"]
        job = jobs.describe(clients, artifact.split("/")[-3])  # …/<job>/output/model.tar.gz
        if source := converted_from(job):
            artifact, job = source, jobs.describe(clients, source.split("/")[-3])
    except (ByocError, ClientError, KeyError, IndexError):
        return f"The training job of the model {model} is not known"
    accuracy = jobs.metrics(job).get("test:accuracy")
    if accuracy is None:
        return f"{job['TrainingJobName']} ({job['TrainingJobStatus']}) measured no accuracy on a test set"
    return Trained(accuracy, _same_pictures(clients, job, artifact, test_uri))


def converted_from(job: dict[str, Any]) -> str:
    """The artifact that a job of `byoc convert` took; "" for other jobs."""
    channels = {one["ChannelName"]: one for one in job.get("InputDataConfig", ())}
    if channels.keys() != {"model"}:
        return ""
    return str(channels["model"]["DataSource"].get("S3DataSource", {}).get("S3Uri", ""))


def _same_pictures(clients: Clients, job: dict[str, Any], artifact: str, test_uri: str) -> bool:
    sources = {
        channel["ChannelName"]: channel["DataSource"].get("S3DataSource", {}).get("S3Uri")
        for channel in job.get("InputDataConfig", ())
    }
    if sources.get("test") != test_uri:
        return False
    bucket, prefix = s3.split(test_uri)
    pictures = list(objects(clients.s3, bucket, prefix))
    if any(item["LastModified"] > job["CreationTime"] for item in pictures):
        return False
    try:  # what was removed has no date
        output = s3.join(artifact.rpartition("/")[0], "output.tar.gz")
        report = read_members(clients.s3, output, ("report.json",))["report.json"]
        if isinstance(report, Unreadable):
            return True
        test = report["data"]["test"]
        return bool(len(pictures) == test["images"] + test["skipped_count"])
    except (Unreadable, KeyError, TypeError):
        return True
