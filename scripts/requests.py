"""What is asked of SageMaker: pure functions from settings to requests, held by tests/scripts/golden/.

Nothing here sends anything or looks anything up: what must be known about the account comes in `Place`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scripts.errors import ByocError
from scripts.settings import Scalar, Settings, text_of
from scripts.tags import PROJECT
from train.interface import HYPERPARAMETERS

Request = dict[str, Any]
CHECKPOINTS = "/opt/ml/checkpoints"
CHANNELS = ("train", "validation", "test", "weights")
VARIANT = "AllTraffic"
LONGEST_ARGUMENT = 256  # characters of a processing job's ContainerArguments


@dataclass(frozen=True)
class Place:
    """What the account gives: resolved by scripts.account, or given by a test."""

    role_arn: str
    bucket: str
    train_image: str
    serve_image: str
    channels: tuple[str, ...] = ("train", "validation", "test")
    """Which of CHANNELS hold data."""
    metrics: tuple[Mapping[str, str], ...] = ()
    """MetricDefinitions: how the trainer's log lines become metrics."""


def root_uri(settings: Settings, place: Place) -> str:
    """The folder in S3 that everything of this project lies in."""
    return f"s3://{place.bucket}/{settings.prefix}"


def data_uri(settings: Settings, place: Place, channel: str) -> str:
    """Where a channel's pictures lie. Ends with a slash: S3 matches prefixes, and train2/ is not train/."""
    if channel == "weights" and settings.weights_file is None:
        return settings.data.weights.rstrip("/") + "/"
    return f"{root_uri(settings, place)}/data/{channel}/"


def output_uri(settings: Settings, place: Place) -> str:
    """Below it, SageMaker makes a folder per job: <job>/output, /debug-output, /profiler-output."""
    return f"{root_uri(settings, place)}/output"


def training_job(
    settings: Settings,
    place: Place,
    name: str,
    hyperparameters: Mapping[str, Scalar] | None = None,
    checkpoints: str = "",
) -> Request:
    """CreateTrainingJob, with the debugger's hook and rules and the profiler where the settings want them.

    Args:
        hyperparameters: put on top of the settings' own, e.g. the best ones of a tuning job.
        checkpoints: S3 address of those of an earlier job to go on from.
    """
    given = {**settings.hyperparameters, **(hyperparameters or {})}
    return {
        "TrainingJobName": name,
        "HyperParameters": {key: text_of(value) for key, value in given.items()} | _torchrun(settings),
        **_training(settings, place, name),
        **({"CheckpointConfig": {"S3Uri": checkpoints, "LocalPath": CHECKPOINTS}} if checkpoints else {}),
        **_debugger(settings, place),
        **_profiler(settings, place),
        "Tags": _tags(settings),
    }


def _training(settings: Settings, place: Place, checkpoints: str) -> Request:
    """What a training job and the definition inside a tuning job have in common."""
    train, condition = settings.train, {"MaxRuntimeInSeconds": settings.train.max_minutes * 60}
    if train.spot:
        condition["MaxWaitTimeInSeconds"] = (train.max_wait_minutes or 2 * train.max_minutes) * 60
    request: Request = {
        "AlgorithmSpecification": {
            "TrainingImage": place.train_image,
            "TrainingInputMode": train.input_mode,
            "MetricDefinitions": [dict(metric) for metric in place.metrics],
        },
        "RoleArn": place.role_arn,
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": data_uri(settings, place, channel),
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
                "InputMode": train.input_mode,
            }
            for channel in place.channels
        ],
        "OutputDataConfig": {"S3OutputPath": output_uri(settings, place), **_kms(settings)},
        "ResourceConfig": {
            "InstanceType": train.instance_type,
            "InstanceCount": train.instance_count,
            "VolumeSizeInGB": train.volume_gb,
        },
        "StoppingCondition": condition,
        "EnableManagedSpotTraining": train.spot,
        **_vpc(settings),
    }
    if train.spot or train.checkpoints:
        request["CheckpointConfig"] = {
            "S3Uri": f"{root_uri(settings, place)}/checkpoints/{checkpoints}",
            "LocalPath": CHECKPOINTS,
        }
    if train.environment:
        request["Environment"] = dict(train.environment)
    return request


def _torchrun(settings: Settings) -> dict[str, str]:
    """sagemaker-training's switch: one process per GPU on every machine. One CPU machine does without."""
    if settings.train.instance_count > 1 or has_gpu(settings.train.instance_type):
        return {"sagemaker_torch_distributed_enabled": "true"}
    return {}


def _debugger(settings: Settings, place: Place) -> Request:
    debugger = settings.debugger
    if not debugger.enabled:
        return {}
    hook: Request = {
        "S3OutputPath": output_uri(settings, place),
        "CollectionConfigurations": [
            {
                "CollectionName": name,
                "CollectionParameters": {key: text_of(value) for key, value in parameters.items()},
            }
            for name, parameters in debugger.collections.items()
        ],
    }
    if debugger.hook:
        hook["HookParameters"] = {key: text_of(value) for key, value in debugger.hook.items()}
    request: Request = {"DebugHookConfig": hook}
    if debugger.rules and debugger.evaluator == "rule":
        request["DebugRuleConfigurations"] = _rules(settings, place, debugger.rules, debugger.parameters)
    return request


def _profiler(settings: Settings, place: Place) -> Request:
    profiler = settings.profiler
    if not profiler.enabled:
        # Without this SageMaker would profile the machine all the same.
        return {"ProfilerConfig": {"DisableProfiler": True}}
    request: Request = {
        "ProfilerConfig": {
            "S3OutputPath": output_uri(settings, place),
            "ProfilingIntervalInMilliseconds": profiler.interval_ms,
        }
    }
    if profiler.window_steps:
        window = {"StartStep": profiler.window_start, "NumSteps": profiler.window_steps}
        request["ProfilerConfig"]["ProfilingParameters"] = {"DetailedProfilingConfig": json.dumps(window)}
    if profiler.rules and settings.debugger.evaluator == "rule":
        request["ProfilerRuleConfigurations"] = _rules(settings, place, profiler.rules, profiler.parameters)
    return request


def _rules(
    settings: Settings, place: Place, names: Sequence[str], parameters: Mapping[str, Mapping[str, Scalar]]
) -> list[Request]:
    return [
        {
            "RuleConfigurationName": name,
            # The training image carries the rules; AWS's own evaluators are closed.
            "RuleEvaluatorImage": place.train_image,
            "InstanceType": settings.debugger.instance_type,
            "VolumeSizeInGB": 10,
            "RuleParameters": {
                "rule_to_invoke": name,
                **{key: text_of(value) for key, value in parameters.get(name, {}).items()},
            },
        }
        for name in names
    ]


def rules_job(settings: Settings, place: Place, name: str) -> Request:
    """CreateProcessingJob: the training image's `rules` command, following the job `name` over S3."""
    output = f"{output_uri(settings, place)}/{name}"
    arguments = ["--job", name, "--sagemaker-job", "--output", "/opt/ml/processing/output/rules"]
    for section, asked, folder in (
        ("debug", settings.debugger, "tensors"),
        ("profiler", settings.profiler, "profiler"),
    ):
        if not asked.enabled:
            continue
        where = {"tensors": "debug-output", "profiler": "profiler-output"}[folder]
        arguments += [f"--{folder}", f"{output}/{where}"]
        for rule in _rules(settings, place, asked.rules, asked.parameters):
            kept = {key: rule[key] for key in ("RuleConfigurationName", "RuleParameters")}
            text = json.dumps(kept, separators=(",", ":"))
            if len(text) > LONGEST_ARGUMENT:
                raise ByocError(
                    f"The parameters of {rule['RuleConfigurationName']} are too long for a processing job.",
                    f"SageMaker takes {LONGEST_ARGUMENT} characters; give fewer of them.",
                )
            arguments += [f"--{section}-rule", text]
    return {
        "ProcessingJobName": f"{name[:57]}-rules",
        "AppSpecification": {
            "ImageUri": place.train_image,
            "ContainerEntrypoint": ["rules"],
            "ContainerArguments": arguments,
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": settings.debugger.instance_type,
                "VolumeSizeInGB": 10,
            }
        },
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "rules",
                    "S3Output": {
                        "S3Uri": f"{output}/rule-output",
                        "LocalPath": "/opt/ml/processing/output/rules",
                        "S3UploadMode": "Continuous",
                    },
                }
            ]
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": settings.train.max_minutes * 60 + 1800},
        "RoleArn": place.role_arn,
        "Tags": _tags(settings),
    }


def tuning_job(settings: Settings, place: Place, name: str) -> Request:
    """CreateHyperParameterTuningJob. Its training jobs have no hook: SageMaker does not offer it there."""
    tune = settings.tune
    fixed = {**settings.hyperparameters, **tune.hyperparameters}
    fixed = {key: value for key, value in fixed.items() if key not in tune.ranges}
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": tune.strategy,
            "HyperParameterTuningJobObjective": {
                "Type": "Minimize" if tune.objective.endswith("loss") else "Maximize",
                "MetricName": tune.objective,
            },
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": tune.jobs,
                "MaxParallelTrainingJobs": min(tune.parallel, tune.jobs),
            },
            "ParameterRanges": _ranges(settings),
            "TrainingJobEarlyStoppingType": "Auto" if tune.early_stopping else "Off",
            "RandomSeed": tune.seed,
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": {key: text_of(value) for key, value in fixed.items()}
            | _torchrun(settings),
            **_training(settings, place, name),
        },
        "Tags": _tags(settings),
    }


def _ranges(settings: Settings) -> Request:
    tune = settings.tune
    if not tune.ranges:
        raise ByocError(
            "[tune.ranges] is empty: there is nothing to tune.", 'E.g. --range "lr=1e-4:0.1:log".'
        )
    if tune.strategy == "Hyperband" and tune.early_stopping:
        raise ByocError(
            "Hyperband stops trials by itself and cannot have early stopping beside it.",
            "Set tune.early_stopping = false.",
        )
    intervals = [key for key, item in tune.ranges.items() if not item.categorical]
    if tune.strategy == "Grid" and intervals:
        raise ByocError(
            f"Grid search takes lists of values only, and {intervals[0]} has an interval.",
            "List its values, or choose another tune.strategy.",
        )
    integers = {item.name for item in HYPERPARAMETERS if item.type is int}
    ranges: Request = {}
    for key, item in tune.ranges.items():
        if item.categorical:
            ranges.setdefault("CategoricalParameterRanges", []).append(
                {"Name": key, "Values": list(item.values)}
            )
            continue
        kind = "IntegerParameterRanges" if key in integers else "ContinuousParameterRanges"
        ranges.setdefault(kind, []).append(
            {
                "Name": key,
                "MinValue": str(item.minimum),
                "MaxValue": str(item.maximum),
                "ScalingType": item.scale,
            }
        )
    return ranges


def model(settings: Settings, place: Place, name: str, artifact: str) -> Request:
    """CreateModel for the artifact (S3 address of a model.tar.gz) in the serving image."""
    container: Request = {"Image": place.serve_image, "ModelDataUrl": artifact}
    if settings.deploy.environment:
        container["Environment"] = dict(settings.deploy.environment)
    return {
        "ModelName": name,
        "PrimaryContainer": container,
        "ExecutionRoleArn": place.role_arn,
        **_vpc(settings),
        "Tags": _tags(settings),
    }


def endpoint_config(settings: Settings, name: str, model_name: str) -> Request:
    """CreateEndpointConfig with one variant."""
    deploy = settings.deploy
    variant: Request = {
        "VariantName": VARIANT,
        "ModelName": model_name,
        "InitialInstanceCount": deploy.instance_count,
        "InstanceType": deploy.instance_type,
        "InitialVariantWeight": 1.0,
        "ContainerStartupHealthCheckTimeoutInSeconds": deploy.startup_seconds,
    }
    if has_gpu(deploy.instance_type):
        # The default machine image's driver (470 on g4dn and g5) is too old for torch's CUDA 12.8 (525 on).
        variant["InferenceAmiVersion"] = deploy.ami_version
    return {"EndpointConfigName": name, "ProductionVariants": [variant], "Tags": _tags(settings)}


def endpoint(settings: Settings, config_name: str) -> Request:
    """CreateEndpoint."""
    return {
        "EndpointName": settings.endpoint_name,
        "EndpointConfigName": config_name,
        "Tags": _tags(settings),
    }


def endpoint_update(settings: Settings, config_name: str) -> Request:
    """UpdateEndpoint: blue/green and all at once, which is SageMaker's default."""
    return {"EndpointName": settings.endpoint_name, "EndpointConfigName": config_name}


def transform_uri(settings: Settings, place: Place, name: str) -> str:
    """The folder in S3 that a transform job's outputs lie in."""
    return f"{root_uri(settings, place)}/transform/{name}"


def transform_job(
    settings: Settings,
    place: Place,
    name: str,
    model_name: str,
    source: str,
    kind: Literal["S3Prefix", "ManifestFile"] = "S3Prefix",
) -> Request:
    """CreateTransformJob: one prediction per picture below `source`, or of those that a manifest there names.

    Args:
        source: an S3 address.
    """
    transform = settings.transform
    in_flight = transform.max_payload_mb * transform.parallel
    if in_flight > 100:
        raise ByocError(
            f"transform.max_payload_mb times transform.parallel is {in_flight}.",
            "SageMaker allows at most 100: lower one of them.",
        )
    resources: Request = {
        "InstanceType": transform.instance_type,
        "InstanceCount": transform.instance_count,
    }
    if has_gpu(transform.instance_type):
        resources["TransformAmiVersion"] = transform.ami_version
    return {
        "TransformJobName": name,
        "ModelName": model_name,
        **({"MaxConcurrentTransforms": transform.parallel} if transform.parallel else {}),
        "MaxPayloadInMB": transform.max_payload_mb,
        "BatchStrategy": "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": source}},
            "ContentType": "application/x-image",
            "SplitType": "None",
        },
        "TransformOutput": {
            "S3OutputPath": transform_uri(settings, place, name),
            "Accept": "application/json",
            "AssembleWith": "None",
        },
        "TransformResources": resources,
        "Tags": _tags(settings),
    }


def has_gpu(instance_type: str) -> bool:
    """Whether SageMaker's machine of that type carries NVIDIA GPUs (families g and p)."""
    return re.match(r"ml\.(g|p)\d", instance_type) is not None


def _tags(settings: Settings) -> list[dict[str, str]]:
    tags = {PROJECT: settings.project.name, **settings.aws.tags}
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _vpc(settings: Settings) -> Request:
    if not settings.aws.subnets:
        return {}
    return {
        "VpcConfig": {
            "Subnets": list(settings.aws.subnets),
            "SecurityGroupIds": list(settings.aws.security_groups),
        }
    }


def _kms(settings: Settings) -> Request:
    return {"KmsKeyId": settings.aws.kms_key} if settings.aws.kms_key else {}
