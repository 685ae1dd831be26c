"""Training jobs: CreateTrainingJob, DescribeTrainingJob, ListTrainingJobs, StopTrainingJob."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from local.api.control import Control, Request, unique
from local.api.listing import Columns, page
from local.errors import ResourceInUse, ResourceNotFound, ValidationException
from local.jobs.documents import training_document
from local.jobs.metrics import compiled, is_explosive
from local.protocol import Handler

NOT_FOUND = "Requested resource not found."
COLUMNS = Columns(name="TrainingJobName", status="TrainingJobStatus")
_LONGEST = 28 * 86_400  # seconds that AWS lets a job run


def handlers(control: Control) -> Mapping[str, Handler]:
    store = control.store

    def create(request: Request) -> dict[str, Any]:
        name = request["TrainingJobName"]
        check(request)
        doc = training_document(control.config, request)
        arn = doc["TrainingJobArn"]
        taken = ResourceInUse(
            "Training job names must be unique within an AWS account and region, and a training job with "
            f"this name already exists ({arn})"
        )
        control.add("training-job", name, doc, request, taken, control.engine.submit_training)
        return {"TrainingJobArn": arn}

    def describe(request: Request) -> dict[str, Any]:
        return control.find(
            "training-job", request["TrainingJobName"], lambda _: ValidationException(NOT_FOUND)
        )

    def list_(request: Request) -> dict[str, Any]:
        docs = store.list("training-job")
        if "WarmPoolStatusEquals" in request or "TrainingPlanArnEquals" in request:
            docs = []  # there are no warm pools and no training plans here
        found = page(docs, request, COLUMNS)
        return found.answer("TrainingJobSummaries", found.items)

    def stop(request: Request) -> None:
        name = request["TrainingJobName"]
        doc = control.find("training-job", name, lambda _: ResourceNotFound(NOT_FOUND))
        status = doc["TrainingJobStatus"]
        if status not in ("InProgress", "Stopping"):
            raise ValidationException(
                f"The request was rejected because the training job is in status {status}."
            )
        control.engine.stop_training(name)

    return {
        "CreateTrainingJob": create,
        "DescribeTrainingJob": describe,
        "ListTrainingJobs": list_,
        "StopTrainingJob": stop,
    }


def check(request: Mapping[str, Any]) -> None:
    """What AWS refuses at once though the shapes allow it. Also for a tuning job's definitions."""
    algorithm = request.get("AlgorithmSpecification", {})
    image = algorithm.get("TrainingImage")
    if "AlgorithmName" in algorithm:
        raise ValidationException(
            "AlgorithmSpecification.AlgorithmName: the local SageMaker has no algorithms of AWS's; "
            "give TrainingImage instead."
        )
    if not image:
        raise ValidationException("AlgorithmSpecification.TrainingImage is missing: name the image to run.")
    check_metrics(algorithm.get("MetricDefinitions", []))
    _check_resources(request)
    check_time(request)
    channels = request.get("InputDataConfig", [])
    unique([channel["ChannelName"] for channel in channels], "channel name")
    for channel in channels:
        _check_source(channel)
    check_s3(request["OutputDataConfig"]["S3OutputPath"], "OutputDataConfig.S3OutputPath")
    for config, member in (
        ("CheckpointConfig", "S3Uri"),
        ("DebugHookConfig", "S3OutputPath"),
        ("ProfilerConfig", "S3OutputPath"),
        ("TensorBoardOutputConfig", "S3OutputPath"),
    ):
        if member in request.get(config, {}):
            check_s3(request[config][member], f"{config}.{member}")
    _check_rules(request)


def check_metrics(definitions: Sequence[Mapping[str, str]]) -> None:
    """ValidationException for a metric that is named twice or whose Regex cannot find a value."""
    unique([definition["Name"] for definition in definitions], "metric name")
    for definition in definitions:
        try:
            groups = compiled(definition["Regex"]).groups
        except (re.error, RecursionError, OverflowError) as error:
            raise ValidationException(
                f"The Regex of metric {definition['Name']!r} is not a regular expression: {error}."
            ) from None
        if not groups:
            raise ValidationException(
                f"The Regex of metric {definition['Name']!r} has no group: put the value in parentheses."
            )
        if is_explosive(definition["Regex"]):
            raise ValidationException(
                f"The Regex of metric {definition['Name']!r} repeats a part that has repeats or alternatives "
                "itself, as in (a+)+: some lines would keep it busy for ever. Write it without."
            )


def check_time(request: Mapping[str, Any]) -> None:
    """ValidationException for stopping conditions that contradict each other."""
    condition = request.get("StoppingCondition", {})
    runtime, wait = condition.get("MaxRuntimeInSeconds"), condition.get("MaxWaitTimeInSeconds")
    if runtime is not None and runtime > _LONGEST:
        raise ValidationException(
            f"StoppingCondition.MaxRuntimeInSeconds {runtime} is above the longest, {_LONGEST} (28 days)."
        )
    if not request.get("EnableManagedSpotTraining"):
        if wait is not None:
            raise ValidationException(
                "StoppingCondition.MaxWaitTimeInSeconds is for jobs with EnableManagedSpotTraining only."
            )
    elif wait is None or wait < (runtime or 0):
        raise ValidationException(
            "EnableManagedSpotTraining needs StoppingCondition.MaxWaitTimeInSeconds, "
            "not below MaxRuntimeInSeconds."
        )


def check_s3(uri: str, where: str) -> None:
    """ValidationException for what is no S3 URI (the shapes' pattern also admits https)."""
    if not uri.startswith("s3://"):
        raise ValidationException(f"{where} {uri!r} must be an S3 URI: s3://BUCKET/PREFIX.")


def _check_source(channel: Mapping[str, Any]) -> None:
    name = channel["ChannelName"]
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise ValidationException(
            f"Channel {name!r} has no S3DataSource: the local SageMaker takes data from S3 only."
        )
    check_s3(source["S3Uri"], f"S3Uri of channel {name!r}")


def _check_resources(request: Mapping[str, Any]) -> None:
    resources = request.get("ResourceConfig") or request.get("HyperParameterTuningResourceConfig")
    if not resources:
        raise ValidationException(
            "ResourceConfig is missing: give InstanceType, InstanceCount, VolumeSizeInGB."
        )
    if "InstanceGroups" in resources or "InstanceConfigs" in resources or "InstancePreferences" in resources:
        raise ValidationException(
            "The local SageMaker has no instance groups, configs or preferences: "
            "give InstanceType and InstanceCount."
        )
    for member in ("InstanceType", "InstanceCount", "VolumeSizeInGB"):
        if not resources.get(member):
            raise ValidationException(f"ResourceConfig.{member} is missing or 0.")


def _check_rules(request: Mapping[str, Any]) -> None:
    names = []
    for kind in ("Debug", "Profiler"):
        rules = request.get(f"{kind}RuleConfigurations", [])
        names += [rule["RuleConfigurationName"] for rule in rules]
        if rules and not request.get("DebugHookConfig") and not request.get("ProfilerConfig"):
            raise ValidationException(
                f"{kind}RuleConfigurations need a DebugHookConfig or ProfilerConfig, whose output they read."
            )
    unique(names, "rule configuration name")
