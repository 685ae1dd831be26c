"""Training jobs: create, describe, list, stop, delete."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from contract.debugger import INTERVALS_MS
from contract.metrics import compiled, is_explosive
from local.api.control import Control, Request, name_taken, require_under_way, unique
from local.api.listing import page
from local.api.members import TRAINING, TRAINING_UPDATE
from local.config import Config
from local.errors import ResourceInUse, ResourceNotFound, ValidationException
from local.jobs.documents import UNDER_WAY, training_document
from local.runtime import optml

NOT_FOUND = "Requested resource not found."
_LONGEST = 28 * 86_400  # seconds that AWS lets a job run


class TrainingJobs(Control):
    def CreateTrainingJob(self, request: Request) -> dict[str, Any]:
        name = request["TrainingJobName"]
        TRAINING.check(request)
        check(self.config, request)
        doc = training_document(self.config, request)
        arn = doc["TrainingJobArn"]
        taken = name_taken("Training job", "training job", arn)
        self.add("training-job", name, doc, request, taken, launch=True)
        return {"TrainingJobArn": arn}

    def DescribeTrainingJob(self, request: Request) -> dict[str, Any]:
        return self.find("training-job", request["TrainingJobName"], lambda _: ValidationException(NOT_FOUND))

    def ListTrainingJobs(self, request: Request) -> dict[str, Any]:
        if "TrainingPlanArnEquals" in request:
            return {"TrainingJobSummaries": []}  # there are no training plans here
        jobs = page(self.store, "training-job", request)
        return jobs.answer("TrainingJobSummaries", jobs.items)

    def UpdateTrainingJob(self, request: Request) -> dict[str, Any]:
        TRAINING_UPDATE.check(request)
        name = request["TrainingJobName"]
        doc = self.find("training-job", name, lambda _: ResourceNotFound(NOT_FOUND))
        if "ResourceConfig" not in request:
            raise ValidationException("The request changes nothing: give ResourceConfig.")
        status = doc["TrainingJobStatus"]
        if status in UNDER_WAY:
            raise ValidationException(
                f"The training job {name} is {status}: its KeepAlivePeriodInSeconds can be changed when it "
                "has ended and its warm pool is Available."
            )
        self.engine.keep_warm(name, request["ResourceConfig"]["KeepAlivePeriodInSeconds"])
        return {"TrainingJobArn": doc["TrainingJobArn"]}

    def StopTrainingJob(self, request: Request) -> None:
        name = request["TrainingJobName"]
        doc = self.find("training-job", name, lambda _: ResourceNotFound(NOT_FOUND))
        require_under_way("training job", doc["TrainingJobStatus"])
        self.engine.stop("training-job", name)

    def DeleteTrainingJob(self, request: Request) -> None:
        name = request["TrainingJobName"]
        doc = self.find("training-job", name, lambda _: ResourceNotFound(NOT_FOUND))
        if doc["TrainingJobStatus"] in UNDER_WAY:
            raise ResourceInUse(f"The training job {name} is {doc['TrainingJobStatus']}: stop it first.")
        if doc.get("WarmPoolStatus", {}).get("Status") == "Available":
            raise ResourceInUse(
                f"The training job {name} retains a warm pool that is Available: end it first, by "
                "UpdateTrainingJob with a KeepAlivePeriodInSeconds of 0."
            )
        parent = doc.get("_TuningJobName", "")
        tuning = self.store.get("tuning-job", parent) if parent else None
        # Its search and its counters need the results of all its training jobs.
        if tuning and tuning["HyperParameterTuningJobStatus"] in UNDER_WAY:
            raise ResourceInUse(
                f"The training job {name} belongs to the tuning job {parent}, which is "
                f"{tuning['HyperParameterTuningJobStatus']}: wait for its end, or stop it."
            )
        self.remove("training-job", name)


def check(config: Config, request: Mapping[str, Any]) -> None:
    """What AWS refuses at once though the shapes allow it, and what is not done here.

    Also for a tuning job's definitions. `members` has refused what is not done whatever its value.
    """
    algorithm = request.get("AlgorithmSpecification", {})
    if not algorithm.get("TrainingImage"):
        raise ValidationException("AlgorithmSpecification.TrainingImage is missing: name the image to run.")
    _check_entrypoint(config, algorithm)
    check_metrics(algorithm.get("MetricDefinitions", []))
    _check_resources(config, request)
    check_time(request)
    channels = request.get("InputDataConfig", [])
    unique([channel["ChannelName"] for channel in channels], "channel name")
    for channel in channels:
        _check_channel(channel, algorithm)
    check_s3(request["OutputDataConfig"]["S3OutputPath"], "OutputDataConfig.S3OutputPath")
    for block, member in (
        ("CheckpointConfig", "S3Uri"),
        ("DebugHookConfig", "S3OutputPath"),
        ("ProfilerConfig", "S3OutputPath"),
        ("TensorBoardOutputConfig", "S3OutputPath"),
    ):
        if member in request.get(block, {}):
            check_s3(request[block][member], f"{block}.{member}")
    _check_profiler(request.get("ProfilerConfig", {}))
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


def _check_entrypoint(config: Config, algorithm: Mapping[str, Any]) -> None:
    if not algorithm.get("ContainerEntrypoint"):
        if algorithm.get("ContainerArguments"):
            raise ValidationException(
                "AlgorithmSpecification.ContainerArguments: the local SageMaker hands them to a "
                "ContainerEntrypoint only; give one."
            )
    elif config.runtime == "process" and not optml.works():
        raise ValidationException(
            "AlgorithmSpecification.ContainerEntrypoint: its program expects /opt/ml, and this machine lets "
            "no process have one of its own (it takes Linux and user namespaces); use --runtime docker."
        )


def _check_channel(channel: Mapping[str, Any], algorithm: Mapping[str, Any]) -> None:
    name = channel["ChannelName"]
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise ValidationException(
            f"Channel {name!r} has no S3DataSource: the local SageMaker takes data from S3 only."
        )
    check_s3(source["S3Uri"], f"S3Uri of channel {name!r}")
    mode = channel.get("InputMode") or algorithm.get("TrainingInputMode")
    kind = source.get("S3DataType")
    for member, value, refused, instead in (
        ("the InputMode", mode, "Pipe", "use File or FastFile"),
        ("the S3DataType", kind, "AugmentedManifestFile", "use S3Prefix or ManifestFile"),
        ("the S3DataType", kind, "Converse", "use S3Prefix or ManifestFile"),
        ("the CompressionType", channel.get("CompressionType"), "Gzip", "upload the files uncompressed"),
        ("the RecordWrapperType", channel.get("RecordWrapperType"), "RecordIO", "upload RecordIO files"),
    ):
        if value == refused:
            raise ValidationException(
                f"Channel {name!r} has {member} {refused}: the local SageMaker does not have it; {instead}."
            )


def _check_resources(config: Config, request: Mapping[str, Any]) -> None:
    resources = request.get("ResourceConfig") or request.get("HyperParameterTuningResourceConfig")
    if not resources:
        raise ValidationException(
            "ResourceConfig is missing: give InstanceType, InstanceCount, VolumeSizeInGB."
        )
    for member in ("InstanceType", "InstanceCount", "VolumeSizeInGB"):
        if not resources.get(member):
            raise ValidationException(f"ResourceConfig.{member} is missing or 0.")
    if resources.get("KeepAlivePeriodInSeconds") and request.get("EnableManagedSpotTraining"):
        raise ValidationException(
            "ResourceConfig.KeepAlivePeriodInSeconds: warm pools are not for spot capacity; leave it out, or "
            "EnableManagedSpotTraining."
        )
    count = resources["InstanceCount"]
    if count > 1 and config.runtime == "process":
        raise ValidationException(
            f"ResourceConfig.InstanceCount is {count}: the local SageMaker's process mode runs one "
            "instance; give 1, or use --runtime docker."
        )


def _check_profiler(config: Mapping[str, Any]) -> None:
    interval = config.get("ProfilingIntervalInMilliseconds")
    if interval is not None and interval not in INTERVALS_MS:
        raise ValidationException(
            f"ProfilerConfig.ProfilingIntervalInMilliseconds {interval} is not one of "
            f"{', '.join(map(str, INTERVALS_MS))}."
        )


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
