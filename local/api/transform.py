"""Transform jobs: CreateTransformJob, DescribeTransformJob, ListTransformJobs, StopTransformJob."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.api.control import Control, Request, echo, name_taken, now, require_under_way
from local.api.listing import page
from local.api.members import TRANSFORM
from local.api.models import missing
from local.api.training import check_s3
from local.config import Config
from local.errors import ResourceNotFound, ValidationException
from local.jobs.records import Processing
from local.store import Document

_MOST_MB = 100  # of one payload, and of all that are on their way to one instance
_DEFAULT_MB = 6
_ECHOED = (
    "ModelName",
    "MaxConcurrentTransforms",
    "ModelClientConfig",
    "MaxPayloadInMB",
    "BatchStrategy",
    "Environment",
    "TransformInput",
    "TransformOutput",
    "TransformResources",
    "DataProcessing",
)


class TransformJobs(Control):
    def CreateTransformJob(self, request: Request) -> dict[str, Any]:
        name = request["TransformJobName"]
        TRANSFORM.check(request)
        check(request)
        self.find("model", request["ModelName"], lambda arn: missing("model", arn))
        doc = transform_document(self.config, request)
        arn = doc["TransformJobArn"]
        taken = name_taken("Transform job", "transform job", arn)
        self.add("transform-job", name, doc, request, taken, launch=True)
        return {"TransformJobArn": arn}

    def DescribeTransformJob(self, request: Request) -> dict[str, Any]:
        name = request["TransformJobName"]
        return self.find("transform-job", name, lambda _: ValidationException(_not_found(name)))

    def ListTransformJobs(self, request: Request) -> dict[str, Any]:
        jobs = page(self.store, "transform-job", request, order="Descending")
        return jobs.answer("TransformJobSummaries", jobs.items)

    def StopTransformJob(self, request: Request) -> None:
        name = request["TransformJobName"]
        doc = self.find("transform-job", name, lambda _: ResourceNotFound(_not_found(name)))
        require_under_way("transform job", doc["TransformJobStatus"])
        self.engine.stop("transform-job", name)


def transform_document(config: Config, request: Mapping[str, Any]) -> Document:
    """The first document of a job that `request` (a valid CreateTransformJob) asks for."""
    name, time = str(request["TransformJobName"]), now()
    return {
        "TransformJobName": name,
        "TransformJobArn": config.arn("transform-job", name),
        "TransformJobStatus": "InProgress",
        **echo(dict(request), *_ECHOED),
        "CreationTime": time,
        "LastModifiedTime": time,
    }


def check(request: Mapping[str, Any]) -> None:
    """What AWS refuses at once though the shapes allow it, and what is not done here."""
    source = request["TransformInput"]
    data = source["DataSource"]["S3DataSource"]
    if data["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise ValidationException(
            f"S3DataType {data['S3DataType']} is not available for transform jobs; use S3Prefix or "
            "ManifestFile."
        )
    check_s3(data["S3Uri"], "TransformInput.DataSource.S3DataSource.S3Uri")
    check_s3(request["TransformOutput"]["S3OutputPath"], "TransformOutput.S3OutputPath")
    if source.get("SplitType") in ("RecordIO", "TFRecord"):
        raise ValidationException(
            f"SplitType {source['SplitType']}: the local SageMaker splits by Line, or not at all (None)."
        )
    _check_limits(request)
    try:
        Processing(request)
    except ValueError as error:
        raise ValidationException(str(error)) from None


def _check_limits(request: Mapping[str, Any]) -> None:
    payload, parallel = request.get("MaxPayloadInMB"), request.get("MaxConcurrentTransforms", 0)
    if payload is not None and payload > _MOST_MB:
        raise ValidationException(f"MaxPayloadInMB is {payload}, and may be {_MOST_MB} at most.")
    together = parallel * (_DEFAULT_MB if payload is None else payload)
    if together > _MOST_MB:
        raise ValidationException(
            f"MaxConcurrentTransforms times MaxPayloadInMB is {together}, and may be {_MOST_MB} at most."
        )
    if payload == 0 and request["TransformInput"].get("SplitType", "None") != "None":
        raise ValidationException("MaxPayloadInMB 0 streams whole objects, and needs SplitType None.")


def _not_found(name: str) -> str:
    return f"Could not find requested job with name: {name}"
