"""What is asked of SageMaker: pure functions from settings to requests, held by tests/scripts/golden/.

Nothing here sends anything or looks anything up: what must be known about the account comes in `Place`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from contract.debugger import HOPELESS, Configuration
from contract.errors import ByocError
from contract.hyperparameters import HYPERPARAMETERS
from scripts import awsdebugger, machines
from scripts.awsdebugger import Request
from scripts.machines import has_gpu, has_local_disk
from scripts.ranges import Scalar, text_of
from scripts.settings import Settings
from scripts.tags import PROJECT

CHECKPOINTS = "/opt/ml/checkpoints"
CHANNELS = ("train", "validation", "test", "weights")
VARIANT = "AllTraffic"
# What lies in the project's folder of the bucket: all that byoc and its jobs write there.
FOLDERS = ("data", "output", "checkpoints", "transform")
_LARGEST_GRID = 10_000  # trials, by SageMaker's quota


@dataclass(frozen=True)
class Place:
    """What the account gives: resolved by scripts.account, or given by a test."""

    role_arn: str
    bucket: str
    train_image: str
    serve_image: str
    rules_image: str = ""
    """AWS's own evaluator of Debugger's rules in this region; needed for `debugger.service = "sagemaker"`."""
    channels: tuple[str, ...] = ("train", "validation", "test")
    """Which of CHANNELS hold data."""
    metrics: tuple[Mapping[str, str], ...] = ()
    """MetricDefinitions: how the trainer's log lines become metrics."""
    key_arn: str = ""
    """The key behind aws.kms_key, where that is an alias: disks of training jobs take none."""
    role_guessed: bool = False
    """Whether IAM could not be asked for the role: the ARN is what it would be without a path."""
    role_new: bool = False
    """Whether the role was made minutes ago, so that not all of AWS may know it."""


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
    """CreateTrainingJob.

    Args:
        hyperparameters: put on top of the settings' own, e.g. the best ones of a tuning job.
        checkpoints: S3 address of those of an earlier job to go on from.
    """
    chosen = {**settings.hyperparameters, **(hyperparameters or {})}
    return {
        "TrainingJobName": name,
        "HyperParameters": {key: text_of(value) for key, value in chosen.items()} | _torchrun(settings),
        **_training(settings, place, name),
        **({"CheckpointConfig": {"S3Uri": checkpoints, "LocalPath": CHECKPOINTS}} if checkpoints else {}),
        **_aws_debugger(settings, place),
        "Tags": tags(settings),
    }


def conversion_job(settings: Settings, place: Place, name: str, artifact: str) -> Request:
    """CreateTrainingJob of a job that gives the model of an older trainer its model.onnx.

    Args:
        artifact: S3 address of its model.tar.gz. The trainer converts where `model` is the only channel and
            there are no hyperparameters.
    """
    train = replace(
        settings.train,
        instance_count=1,
        input_mode="File",
        spot=False,
        checkpoints=False,
        keep_alive_minutes=0,
    )
    request = _training(replace(settings, train=train), place, name)
    request |= {
        "TrainingJobName": name,
        "InputDataConfig": [_channel("model", artifact, "File")],
        "Tags": tags(settings),
    }
    request.pop("Environment", None)  # of a training and its debugger
    return request


def _channel(name: str, uri: str, input_mode: str) -> Request:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": input_mode}


def _training(settings: Settings, place: Place, checkpoints: str, *, trial: bool = False) -> Request:
    """What a training job and the definition inside a tuning job have in common."""
    train, condition = settings.train, {"MaxRuntimeInSeconds": settings.train.max_minutes * 60}
    machines.check(train.instance_type, "train.instance_type")
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
            _channel(channel, data_uri(settings, place, channel), train.input_mode)
            for channel in place.channels
        ],
        "OutputDataConfig": {"S3OutputPath": output_uri(settings, place), **_kms(settings)},
        "ResourceConfig": {
            "InstanceType": train.instance_type,
            "InstanceCount": train.instance_count,
            "VolumeSizeInGB": train.volume_gb,
            **_disk_key(settings, train.instance_type, "VolumeKmsKeyId", place.key_arn),
            **_keep_alive(settings, trial=trial),
        },
        "StoppingCondition": condition,
        "EnableManagedSpotTraining": train.spot,
        **_network(settings),
    }
    if train.retries:
        request["RetryStrategy"] = {"MaximumRetryAttempts": train.retries}
    if settings.aws.encrypt_between_containers:
        request["EnableInterContainerTrafficEncryption"] = True
    if train.spot or train.checkpoints:
        request["CheckpointConfig"] = {
            "S3Uri": f"{root_uri(settings, place)}/checkpoints/{checkpoints}",
            "LocalPath": CHECKPOINTS,
        }
    environment = {**debugger_configuration(settings, trial=trial).to_environment(), **train.environment}
    if environment:
        request["Environment"] = environment
    return request


def _keep_alive(settings: Settings, *, trial: bool) -> Request:
    """A tuning job reuses its machines by itself, and takes no such member."""
    seconds = 0 if trial else settings.train.keep_alive_minutes * 60
    return {"KeepAlivePeriodInSeconds": seconds} if seconds else {}


def _aws_debugger(settings: Settings, place: Place) -> Request:
    if settings.debugger.service != "sagemaker":
        return {}
    return awsdebugger.members(settings, output_uri(settings, place), place.rules_image)


def _torchrun(settings: Settings) -> dict[str, str]:
    """sagemaker-training's switch: one process per GPU on every machine. One CPU machine does without."""
    if settings.train.instance_count > 1 or has_gpu(settings.train.instance_type):
        return {"sagemaker_torch_distributed_enabled": "true"}
    return {}


def hopeless_rules(settings: Settings) -> list[str]:
    """The rules that `tune.stop_hopeless` lets end a trial, as far as they run."""
    running = {name.lower() for name in settings.debugger.rules if settings.debugger.enabled}
    return [name for name in HOPELESS if name.lower() in running]


def debugger_configuration(settings: Settings, *, trial: bool = False) -> Configuration:
    """What the debugger in the training container does.

    Args:
        trial: of a tuning job, where `tune.stop_hopeless` counts.
    """
    debugger, profiler = settings.debugger, settings.profiler
    changes: dict[str, Any] = {"enabled": debugger.enabled, "profile": profiler.enabled}
    parameters: dict[str, Mapping[str, Scalar]] = {}
    if debugger.enabled:
        hopeless = [name for name in hopeless_rules(settings) if trial and settings.tune.stop_hopeless]
        parameters |= debugger.parameters
        changes |= {
            "rules": debugger.rules,
            "stop": tuple(dict.fromkeys([*debugger.stop, *hopeless])),
            "collections": debugger.collections,
            "keep_tensors": debugger.keep_tensors,
            "hook": debugger.hook,
        }
    if profiler.enabled:
        parameters |= profiler.parameters
        changes |= {
            "interval_ms": profiler.interval_ms,
            "window_steps": profiler.window_steps,
            "window_start": profiler.window_start,
            "profiler_rules": profiler.rules,
        }
    return Configuration(**changes, parameters=parameters)


def tuning_job(settings: Settings, place: Place, name: str) -> Request:
    """CreateHyperParameterTuningJob."""
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
            **_strategy(settings, fixed),
            "ResourceLimits": _limits(settings),
            "ParameterRanges": _ranges(settings),
            "TrainingJobEarlyStoppingType": "Auto" if tune.early_stopping else "Off",
            "RandomSeed": tune.seed,
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": {key: text_of(value) for key, value in fixed.items()}
            | _torchrun(settings),
            **_training(settings, place, name, trial=True),
        },
        "Tags": tags(settings),
    }


def combinations(settings: Settings) -> int | None:
    """How many different trials there can be; None where a range is an interval."""
    ranges = settings.tune.ranges.values()
    if not ranges or not all(item.categorical for item in ranges):
        return None
    return math.prod(len(set(item.values)) for item in ranges)


def _limits(settings: Settings) -> Request:
    """A grid is walked through: how many trials it has is not for the request to say."""
    tune, distinct = settings.tune, combinations(settings)
    if tune.strategy == "Grid" and distinct:
        if distinct > _LARGEST_GRID:
            raise ByocError(
                f"The lists in [tune.ranges] have {distinct} combinations, and Grid tries each of them; "
                f"a tuning job has {_LARGEST_GRID} trials at most.",
                "Shorten the lists, or choose another tune.strategy.",
            )
        return {"MaxParallelTrainingJobs": min(tune.parallel, distinct)}
    if distinct is not None and tune.jobs > distinct:
        raise ByocError(
            f"tune.jobs is {tune.jobs}, and the lists in [tune.ranges] have {distinct} combinations.",
            f'Set --jobs {distinct}, or tune.strategy = "Grid", which tries each of them.',
        )
    return {
        "MaxNumberOfTrainingJobs": tune.jobs,
        "MaxParallelTrainingJobs": min(tune.parallel, tune.jobs),
    }


def _strategy(settings: Settings, fixed: Mapping[str, Scalar]) -> Request:
    """What Hyperband has to know: from how many epochs to how many a trial may go."""
    if settings.tune.strategy != "Hyperband":
        return {}
    default = next(item.default for item in HYPERPARAMETERS if item.name == "epochs")
    most = int(fixed.get("epochs", default))
    if "epochs" in settings.tune.ranges or most < 2:
        raise ByocError(
            "Hyperband decides how many epochs a trial has, from 1 to the hyperparameter epochs.",
            "Take epochs out of [tune.ranges], and set it to 2 or more.",
        )
    least = settings.tune.min_epochs
    if least >= most:
        raise ByocError(
            f"tune.min_epochs is {least}, and a trial has {most} epochs: Hyperband could stop none.",
            "Lower tune.min_epochs, or raise the hyperparameter epochs.",
        )
    return {"StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": least, "MaxResource": most}}}


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
                {"Name": key, "Values": list(dict.fromkeys(item.values))}
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
    """CreateModel for the artifact (S3 address of a model.tar.gz) in the serving image of `place`."""
    container: Request = {"Image": place.serve_image, "ModelDataUrl": artifact}
    if settings.deploy.environment:
        container["Environment"] = dict(settings.deploy.environment)
    return {
        "ModelName": name,
        "PrimaryContainer": container,
        "ExecutionRoleArn": place.role_arn,
        **_network(settings),
        "Tags": tags(settings),
    }


def endpoint_config(settings: Settings, name: str, model_name: str) -> Request:
    """CreateEndpointConfig with one variant."""
    deploy = settings.deploy
    machines.check_multi_model(deploy.instance_type, deploy.environment)
    variant: Request = {
        "VariantName": VARIANT,
        "ModelName": model_name,
        "InitialInstanceCount": deploy.instance_count,
        "InstanceType": deploy.instance_type,
        "InitialVariantWeight": 1.0,
        "ContainerStartupHealthCheckTimeoutInSeconds": deploy.startup_seconds,
    }
    if ami := machines.endpoint_image(deploy.instance_type, deploy.ami_version):
        variant["InferenceAmiVersion"] = ami
    return {
        "EndpointConfigName": name,
        "ProductionVariants": [variant],
        **_disk_key(settings, deploy.instance_type, "KmsKeyId"),
        "Tags": tags(settings),
    }


def endpoint(settings: Settings, config_name: str) -> Request:
    """CreateEndpoint."""
    return {
        "EndpointName": settings.endpoint_name,
        "EndpointConfigName": config_name,
        "Tags": tags(settings),
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
        **_disk_key(settings, transform.instance_type, "VolumeKmsKeyId"),
    }
    if ami := machines.batch_image(transform.instance_type, transform.ami_version):
        resources["TransformAmiVersion"] = ami
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
            **_kms(settings),
        },
        "TransformResources": resources,
        "Tags": tags(settings),
    }


def tags(settings: Settings) -> list[Any]:
    """The tags of everything that is created."""
    pairs = {PROJECT: settings.project.name, **settings.aws.tags}
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def _network(settings: Settings) -> Request:
    """VPC and isolation, of training jobs and of models; endpoints and transform jobs have their model's."""
    request: Request = {}
    if settings.aws.subnets:
        request["VpcConfig"] = {
            "Subnets": list(settings.aws.subnets),
            "SecurityGroupIds": list(settings.aws.security_groups),
        }
    if settings.aws.network_isolation:
        request["EnableNetworkIsolation"] = True
    return request


def _disk_key(settings: Settings, instance_type: str, member: str, arn: str = "") -> Request:
    if not settings.aws.kms_key or has_local_disk(instance_type):
        return {}
    return {member: arn or settings.aws.kms_key}


def _kms(settings: Settings) -> Request:
    return {"KmsKeyId": settings.aws.kms_key} if settings.aws.kms_key else {}
