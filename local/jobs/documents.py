"""Documents of training jobs: built from requests, moved from status to status, summed up for a tuning job.

The control plane and the tuning runner build a training job's first document with the same function, so
that a child of a tuning job looks like any other job.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from local.config import Config

Document = dict[str, Any]

# Members of CreateTrainingJob that DescribeTrainingJob gives back as they were.
_ECHOED = (
    "HyperParameters",
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "VpcConfig",
    "StoppingCondition",
    "CheckpointConfig",
    "DebugHookConfig",
    "DebugRuleConfigurations",
    "TensorBoardOutputConfig",
    "ExperimentConfig",
    "ProfilerConfig",
    "ProfilerRuleConfigurations",
    "Environment",
    "RetryStrategy",
    "RemoteDebugConfig",
    "InfraCheckConfig",
)

# SageMaker's words beside the secondary statuses.
MESSAGES: Mapping[str, str] = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
    "Interrupted": "Spot capacity was taken away. The job waits for new capacity.",
}

# The end of a job, by secondary status.
TERMINAL: Mapping[str, str] = {
    "Completed": "Completed",
    "Failed": "Failed",
    "Stopped": "Stopped",
    "MaxRuntimeExceeded": "Stopped",
    "MaxWaitTimeExceeded": "Stopped",
}

UNDER_WAY = ("InProgress", "Stopping")  # of jobs of every kind, and of rules

_REASON_LIMIT = 1024  # characters of a FailureReason, in every Describe*

DEFAULT_MAX_RUNTIME = 86_400  # seconds; what AWS takes when StoppingCondition names none


def training_document(
    config: Config, request: Mapping[str, Any], *, tuning_job_arn: str | None = None
) -> Document:
    """The first document of a training job that `request` (a valid CreateTrainingJob) asks for."""
    name = str(request["TrainingJobName"])
    now = time.time()
    doc: Document = {
        "TrainingJobName": name,
        "TrainingJobArn": config.arn("training-job", name),
        **({"TuningJobArn": tuning_job_arn} if tuning_job_arn else {}),
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        **{key: request[key] for key in _ECHOED if key in request},
        "CreationTime": now,
        "LastModifiedTime": now,
        "SecondaryStatusTransitions": [
            {"Status": "Starting", "StartTime": now, "StatusMessage": MESSAGES["Starting"]}
        ],
        "FinalMetricDataList": [],
        "EnableNetworkIsolation": bool(request.get("EnableNetworkIsolation", False)),
        "EnableInterContainerTrafficEncryption": bool(
            request.get("EnableInterContainerTrafficEncryption", False)
        ),
        "EnableManagedSpotTraining": bool(request.get("EnableManagedSpotTraining", False)),
    }
    doc["OutputDataConfig"] = _output(request)
    doc["StoppingCondition"] = {
        "MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME,
        **request.get("StoppingCondition", {}),
    }
    if "ProfilerConfig" in request:
        off = request["ProfilerConfig"].get("DisableProfiler", False)
        doc["ProfilingStatus"] = "Disabled" if off else "Enabled"
    for kind in ("Debug", "Profiler"):
        rules = request.get(f"{kind}RuleConfigurations")
        if rules:
            doc[f"{kind}RuleEvaluationStatuses"] = [
                {
                    "RuleConfigurationName": rule["RuleConfigurationName"],
                    "RuleEvaluationJobArn": config.arn("processing-job", rules_job(name)),
                    "RuleEvaluationStatus": "InProgress",
                    "LastModifiedTime": now,
                }
                for rule in rules
            ]
    return doc


def tuning_document(config: Config, request: Mapping[str, Any]) -> Document:
    """The first document of a tuning job that `request` (a valid CreateHyperParameterTuningJob) asks for.

    Its definitions say what their jobs are given, which clients rely on: ResourceConfig also where the
    request has HyperParameterTuningResourceConfig, and the metric's name among the static hyperparameters.
    """
    name, now = str(request["HyperParameterTuningJobName"]), time.time()
    tuning = request["HyperParameterTuningJobConfig"]
    doc: Document = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobArn": config.arn("tuning-job", name),
        "HyperParameterTuningJobConfig": tuning,
        **{key: request[key] for key in ("WarmStartConfig", "Autotune") if key in request},
        "HyperParameterTuningJobStatus": "InProgress",
        "CreationTime": now,
        "LastModifiedTime": now,
        "TrainingJobStatusCounters": dict.fromkeys(
            ("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0
        ),
        "ObjectiveStatusCounters": dict.fromkeys(("Succeeded", "Pending", "Failed"), 0),
    }
    if "TrainingJobDefinition" in request:
        doc["TrainingJobDefinition"] = _definition(request["TrainingJobDefinition"], tuning)
    else:
        doc["TrainingJobDefinitions"] = [
            _definition(each, tuning) for each in request["TrainingJobDefinitions"]
        ]
    return doc


def _definition(definition: Mapping[str, Any], tuning: Mapping[str, Any]) -> Document:
    objective = definition.get("TuningObjective") or tuning["HyperParameterTuningJobObjective"]
    resources = definition.get("HyperParameterTuningResourceConfig", {})
    members = ("InstanceType", "InstanceCount", "VolumeSizeInGB")
    return {
        "ResourceConfig": {member: resources[member] for member in members if member in resources},
        **definition,
        "OutputDataConfig": _output(definition),
        "StaticHyperParameters": {
            "_tuning_objective_metric": objective["MetricName"],
            **definition.get("StaticHyperParameters", {}),
        },
    }


def _output(request: Mapping[str, Any]) -> Document:
    """A request's OutputDataConfig as AWS shows it: with a key, if only an empty one."""
    return {"KmsKeyId": "", **request["OutputDataConfig"]}


def rules_job(training_job: str) -> str:
    """Name of the processing job that evaluates a training job's rules."""
    return f"{training_job}-rules"


def enter(doc: Document, status: str, message: str | None = None) -> None:
    """Moves a training document to a secondary status, in place: transitions, times, primary status."""
    now = time.time()
    transitions = doc.setdefault("SecondaryStatusTransitions", [])
    if transitions and "EndTime" not in transitions[-1]:
        transitions[-1]["EndTime"] = now
    transition = {"Status": status, "StartTime": now, "StatusMessage": message or MESSAGES[status]}
    transitions.append(transition)
    doc["SecondaryStatus"] = status
    if status == "Downloading":
        doc.setdefault("TrainingStartTime", now)  # of the first attempt
    elif status == "Stopping":
        doc["TrainingJobStatus"] = "Stopping"
    elif status in TERMINAL:
        doc["TrainingJobStatus"] = TERMINAL[status]
        transition["EndTime"] = now
        doc["TrainingEndTime"] = now
        # Of a job that had a machine at least 1: clients divide by it.
        least = 1 if "TrainingStartTime" in doc else 0
        doc["TrainingTimeInSeconds"] = max(least, round(now - doc.get("TrainingStartTime", now)))
        billed = max(least, round(seconds_with_machine(doc)))
        doc["BillableTimeInSeconds"] = min(doc["TrainingTimeInSeconds"], billed)


def seconds_with_machine(doc: Document) -> float:
    """How long a job had a machine, all attempts together: not the times in which it waited for one."""
    seconds, has_machine = 0.0, False
    for transition in doc["SecondaryStatusTransitions"]:
        if transition["Status"] in ("Downloading", "Interrupted", "Starting"):
            has_machine = transition["Status"] == "Downloading"
        if has_machine and transition["Status"] not in TERMINAL:
            seconds += max(0.0, transition.get("EndTime", time.time()) - transition["StartTime"])
    return seconds


def retries_left(doc: Document) -> int:
    """How often a job may start again after a failure of the service (RetryStrategy)."""
    return int(doc.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)) - int(doc.get("_Retries", 0))


def fail(doc: Document, reason: str) -> None:
    """Ends a training document as Failed, in place."""
    doc["FailureReason"] = shortened(reason)
    if doc.get("_ObjectiveStatus") == "Pending":  # a trial whose tuning job may be gone
        doc["_ObjectiveStatus"] = "Failed"
    enter(doc, "Failed")


def shortened(reason: str) -> str:
    """A FailureReason of no more characters than AWS's model has."""
    return reason if len(reason) <= _REASON_LIMIT else reason[: _REASON_LIMIT - 1] + "…"


def tuning_summary(doc: Document) -> Document:
    """A tuning job's child as a HyperParameterTrainingJobSummary. `doc` is the child's document."""
    summary: Document = {
        "TrainingJobName": doc["TrainingJobName"],
        "TrainingJobArn": doc["TrainingJobArn"],
        "CreationTime": doc["CreationTime"],
        "TrainingJobStatus": doc["TrainingJobStatus"],
        "TunedHyperParameters": doc.get("_TunedHyperParameters", {}),
        "ObjectiveStatus": doc.get("_ObjectiveStatus", "Pending"),
    }
    if "_TuningJobName" in doc:
        summary["TuningJobName"] = doc["_TuningJobName"]
    if "_DefinitionName" in doc:
        summary["TrainingJobDefinitionName"] = doc["_DefinitionName"]
    for key in ("TrainingStartTime", "TrainingEndTime", "FailureReason"):
        if key in doc:
            summary[key] = doc[key]
    if "_FinalObjectiveMetric" in doc:
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = doc["_FinalObjectiveMetric"]
    return summary
