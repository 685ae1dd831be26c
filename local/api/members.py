"""Every member of a Create or Update request: read, refused with a sentence, or left alone for a reason.

A member that stands in none of the three is one of a newer AWS model: it is refused as well, so that nothing
is ignored in silence. A path names members from the request's top, lists and their items alike. What is said
of a refused or harmless member holds for all below it of which nothing else is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from local.errors import ValidationException

# Values by which a request says that it does not want what a member is for.
_NOTHING: tuple[Any, ...] = (False, 0, "", [], {}, "Disabled", "DISABLED", "None")


@dataclass(frozen=True)
class Members:
    """What is said of the members of a request.

    `read`: paths of what the code uses or gives back. `refused`: path → what the local SageMaker lacks, and
    what to do instead. `harmless`: path → why the answer is the same without it.
    """

    read: frozenset[str]
    refused: Mapping[str, str] = field(default_factory=dict)
    harmless: Mapping[str, str] = field(default_factory=dict)

    def below(self, *prefixes: str) -> Members:
        """The same members, found under each of `prefixes`."""
        return Members(
            frozenset(f"{prefix}.{path}" for prefix in prefixes for path in self.read),
            {f"{prefix}.{path}": text for prefix in prefixes for path, text in self.refused.items()},
            {f"{prefix}.{path}": text for prefix in prefixes for path, text in self.harmless.items()},
        )

    def __or__(self, other: Members) -> Members:
        return Members(
            self.read | other.read, {**self.refused, **other.refused}, {**self.harmless, **other.harmless}
        )

    def check(self, request: Mapping[str, Any]) -> None:
        """ValidationException for the first member that is not done here."""
        for path, value in self._ends(request, ""):
            why = self.refusal(path)
            if why and value not in _NOTHING:
                raise ValidationException(f"{path}: the local SageMaker {why}.")

    def refusal(self, path: str) -> str | None:
        """Why a member is refused, and what to do instead; None for one that is not."""
        if path in self.read:
            return None
        while path:
            if path in self.harmless:
                return None
            if path in self.refused:
                return self.refused[path]
            path = path.rpartition(".")[0]
        return "does not know it; leave it out"

    @cached_property
    def _above(self) -> frozenset[str]:
        """Every path below which something is said of a member."""
        said = [*self.read, *self.refused, *self.harmless]
        return frozenset(path[:end] for path in said for end, sign in enumerate(path) if sign == ".")

    def _ends(self, value: Any, path: str) -> Iterator[tuple[str, Any]]:
        """A request's members down to those of which something is said."""
        if path and path not in self._above:
            yield path, value
        elif isinstance(value, Mapping):
            for name, item in value.items():
                yield from self._ends(item, f"{path}.{name}" if path else name)
        else:
            for item in value:
                yield from self._ends(item, path)


def _paths(text: str) -> frozenset[str]:
    """`A B(C D(E))` → A, B.C, B.D.E."""
    paths: list[str] = []
    above: list[str] = []
    for word in text.replace("(", " ( ").replace(")", " ) ").split():
        if word == "(":
            above.append(paths.pop())
        elif word == ")":
            above.pop()
        else:
            paths.append(f"{above[-1]}.{word}" if above else word)
    return frozenset(paths)


_NO_KEYS = "nothing is encrypted: the home folder is the user's alone"
_NO_SUBNETS = "there are no subnets: a job has this machine's network"
_ISOLATED = "what needs no network runs alike with one"
_REGISTRY = "images are those of this machine"
_EULA = "the bucket holds what it holds"
_NO_EXPERIMENTS = "has no experiments; leave it out"
_NO_HUB = "has no hub; upload the files to a bucket"
_ONE_CONTAINER = "a model has one container"

_S3_SOURCE = "S3DataSource(S3DataType S3Uri S3DataDistributionType)"
_RULE = "RuleConfigurationName S3OutputPath RuleParameters RuleEvaluatorImage"
_ONE_PROCESS = "one process judges all rules, on this machine"

TRAINING = Members(
    _paths(f"""
        TrainingJobName RoleArn HyperParameters Environment Tags(Key Value) EnableManagedSpotTraining
        AlgorithmSpecification(
            TrainingImage TrainingInputMode MetricDefinitions(Name Regex) ContainerEntrypoint
            ContainerArguments
        )
        InputDataConfig(
            ChannelName ContentType CompressionType RecordWrapperType InputMode DataSource({_S3_SOURCE})
        )
        OutputDataConfig(S3OutputPath CompressionType)
        ResourceConfig(InstanceType InstanceCount VolumeSizeInGB KeepAlivePeriodInSeconds)
        StoppingCondition(MaxRuntimeInSeconds MaxWaitTimeInSeconds) RetryStrategy(MaximumRetryAttempts)
        CheckpointConfig(S3Uri LocalPath)
        DebugHookConfig(
            LocalPath S3OutputPath HookParameters
            CollectionConfigurations(CollectionName CollectionParameters)
        )
        DebugRuleConfigurations({_RULE}) ProfilerRuleConfigurations({_RULE})
        TensorBoardOutputConfig(LocalPath S3OutputPath)
        ProfilerConfig(S3OutputPath ProfilingIntervalInMilliseconds ProfilingParameters DisableProfiler)
    """),
    {
        "AlgorithmSpecification.AlgorithmName": "has no algorithms of AWS's; give TrainingImage instead",
        "InputDataConfig.DataSource.FileSystemDataSource": "takes data from S3 only; upload it to a bucket "
        "and give S3DataSource",
        "InputDataConfig.DataSource.DatasetSource": "takes data from S3 only; upload it to a bucket and "
        "give S3DataSource",
        "InputDataConfig.DataSource.S3DataSource.AttributeNames": "has no AugmentedManifestFile; use "
        "S3Prefix or ManifestFile",
        "InputDataConfig.DataSource.S3DataSource.InstanceGroupNames": "has no instance groups; leave it out",
        "InputDataConfig.DataSource.S3DataSource.HubAccessConfig": _NO_HUB,
        "InputDataConfig.ShuffleConfig": "does not shuffle; let the container do it",
        "ResourceConfig.InstanceGroups": "has no instance groups; give InstanceType and InstanceCount",
        "ResourceConfig.InstancePreferences": "has no instance preferences; give InstanceType and "
        "InstanceCount",
        "ResourceConfig.TrainingPlanArn": "has no training plans; leave it out",
        "ResourceConfig.InstancePlacementConfig": "places nothing; leave it out",
        "ResourceConfig.SelectedInstanceType": "takes no member that belongs to an answer; give InstanceType",
        "ResourceConfig.SelectedInstanceCount": "takes no member that belongs to an answer; give "
        "InstanceCount",
        "RemoteDebugConfig.EnableRemoteDebug": "has no Systems Manager; a job's processes are on this "
        "machine",
        "ExperimentConfig": _NO_EXPERIMENTS,
        "ServerlessJobConfig": "trains in images only; give AlgorithmSpecification and ResourceConfig",
        "MlflowConfig": "has no MLflow; log to a server of yours from the container",
        "ModelPackageConfig": "has no model registry; leave it out",
    },
    {
        "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries": "every value is in the job's log",
        "AlgorithmSpecification.TrainingImageConfig": _REGISTRY,
        "InputDataConfig.DataSource.S3DataSource.ModelAccessConfig": _EULA,
        "OutputDataConfig.KmsKeyId": _NO_KEYS,
        "ResourceConfig.VolumeKmsKeyId": _NO_KEYS,
        "VpcConfig": _NO_SUBNETS,
        "StoppingCondition.MaxPendingTimeInSeconds": "no job waits for capacity",
        "EnableNetworkIsolation": _ISOLATED,
        "EnableInterContainerTrafficEncryption": "the traffic stays on this machine",
        "DebugRuleConfigurations.LocalPath": _ONE_PROCESS,
        "DebugRuleConfigurations.InstanceType": _ONE_PROCESS,
        "DebugRuleConfigurations.VolumeSizeInGB": _ONE_PROCESS,
        "ProfilerRuleConfigurations.LocalPath": _ONE_PROCESS,
        "ProfilerRuleConfigurations.InstanceType": _ONE_PROCESS,
        "ProfilerRuleConfigurations.VolumeSizeInGB": _ONE_PROCESS,
        "InfraCheckConfig": "there is no instance to check",
        "SessionChainingConfig": "credentials carry no tags here",
    },
)

_NO_CHANGE = "changes neither profiler nor rules of a job that runs; leave it out"
TRAINING_UPDATE = Members(
    _paths("TrainingJobName ResourceConfig(KeepAlivePeriodInSeconds)"),
    {
        "ProfilerConfig": _NO_CHANGE,
        "ProfilerRuleConfigurations": _NO_CHANGE,
        "RemoteDebugConfig.EnableRemoteDebug": "has no Systems Manager; a job's processes are on this "
        "machine",
    },
)

_RANGES = """
    IntegerParameterRanges(Name MinValue MaxValue ScalingType)
    ContinuousParameterRanges(Name MinValue MaxValue ScalingType)
    CategoricalParameterRanges(Name Values)
    AutoParameters(Name ValueHint)
"""
_DEFINITION = TRAINING | Members(
    _paths(f"""
        DefinitionName TuningObjective(Type MetricName) HyperParameterRanges({_RANGES}) StaticHyperParameters
        HyperParameterTuningResourceConfig(InstanceType InstanceCount VolumeSizeInGB)
    """),
    {
        "HyperParameterTuningResourceConfig.InstanceConfigs": "has no choice of machines; give InstanceType "
        "and InstanceCount",
        "HyperParameterTuningResourceConfig.AllocationStrategy": "has no choice of machines; leave it out",
    },
    {"HyperParameterTuningResourceConfig.VolumeKmsKeyId": _NO_KEYS},
)
TUNING = _DEFINITION.below("TrainingJobDefinition", "TrainingJobDefinitions") | Members(
    _paths(f"""
        HyperParameterTuningJobName Tags(Key Value)
        HyperParameterTuningJobConfig(
            Strategy HyperParameterTuningJobObjective(Type MetricName) ParameterRanges({_RANGES}) RandomSeed
            ResourceLimits(MaxNumberOfTrainingJobs MaxParallelTrainingJobs MaxRuntimeInSeconds)
            StrategyConfig(HyperbandStrategyConfig(MinResource MaxResource)) TrainingJobEarlyStoppingType
            TuningJobCompletionCriteria(
                TargetObjectiveMetricValue BestObjectiveNotImproving(MaxNumberOfTrainingJobsNotImproving)
                ConvergenceDetected(CompleteOnConvergence)
            )
        )
        WarmStartConfig(ParentHyperParameterTuningJobs(HyperParameterTuningJobName) WarmStartType)
        Autotune(Mode)
    """),
)

_CONTAINER = Members(
    _paths("""
        Image Mode ModelDataUrl ModelDataSource(S3DataSource(S3Uri S3DataType CompressionType)) Environment
    """),
    {
        "MultiModelConfig": "serves one model a container; leave it out",
        "AdditionalModelDataSources": "brings one model to a container; put all of it below ModelDataUrl",
        "ModelPackageName": "has no model registry; give Image and ModelDataUrl",
        "InferenceSpecificationName": "has no model registry; give Image and ModelDataUrl",
        "ContainerMetricsConfig": "publishes no metrics; leave it out",
        "ModelDataSource.S3DataSource.HubAccessConfig": _NO_HUB,
        "ModelDataSource.S3DataSource.ManifestS3Uri": "takes all of a prefix; leave it out",
        "ModelDataSource.S3DataSource.ManifestEtag": "takes all of a prefix; leave it out",
        "ModelDataSource.S3DataSource.ETag": "takes the object as it is; leave it out",
    },
    {
        "ContainerHostname": _ONE_CONTAINER,
        "ImageConfig": _REGISTRY,
        "ModelDataSource.S3DataSource.ModelAccessConfig": _EULA,
    },
)
MODEL = _CONTAINER.below("PrimaryContainer", "Containers") | Members(
    _paths("ModelName ExecutionRoleArn Tags(Key Value)"),
    {},
    {
        "InferenceExecutionConfig": _ONE_CONTAINER,
        "VpcConfig": _NO_SUBNETS,
        "EnableNetworkIsolation": _ISOLATED,
    },
)

_ONE_INSTANCE = "a variant has one container on this machine"
ENDPOINT_CONFIG = Members(
    _paths("""
        EndpointConfigName Tags(Key Value) ExecutionRoleArn
        ProductionVariants(
            VariantName ModelName InitialInstanceCount InstanceType InitialVariantWeight
            ContainerStartupHealthCheckTimeoutInSeconds ServerlessConfig(MemorySizeInMB)
        )
    """),
    {
        "DataCaptureConfig.EnableCapture": "captures no data; leave DataCaptureConfig out",
        "AsyncInferenceConfig": "has no asynchronous endpoints; leave it out and use InvokeEndpoint, or run "
        "a transform job",
        "ExplainerConfig": "has no Clarify; leave it out",
        "ShadowProductionVariants": "has no shadow variants; deploy an endpoint of its own",
        "CrossRegionTrafficConfig": "is one region; leave it out",
        "ProductionVariants.InstancePools": "has no instance pools; give InstanceType and "
        "InitialInstanceCount",
        "ProductionVariants.AcceleratorType": "has no Elastic Inference; leave it out",
        "ProductionVariants.CoreDumpConfig": "keeps no core dumps; leave it out",
        "ProductionVariants.EnableSSMAccess": "has no Systems Manager; a container is on this machine",
        "ProductionVariants.ManagedInstanceScaling": "does not scale; leave it out",
        "ProductionVariants.AcceleratorPartitionLayouts": "does not divide GPUs; leave it out",
    },
    {
        "DataCaptureConfig": "nothing is captured",
        "KmsKeyId": _NO_KEYS,
        "VpcConfig": _NO_SUBNETS,
        "EnableNetworkIsolation": _ISOLATED,
        "MetricsConfig": "there is no CloudWatch to publish metrics to",
        "ProductionVariants.ServerlessConfig.MaxConcurrency": "as many requests are answered as this "
        "machine can",
        "ProductionVariants.ServerlessConfig.ProvisionedConcurrency": "a container is always up",
        "ProductionVariants.VariantInstanceProvisionTimeoutInSeconds": _ONE_INSTANCE,
        "ProductionVariants.VolumeSizeInGB": "the container has this machine's disk",
        "ProductionVariants.ModelDataDownloadTimeoutInSeconds": "the bucket is on this machine's disk",
        "ProductionVariants.RoutingConfig": _ONE_INSTANCE,
        "ProductionVariants.InferenceAmiVersion": "there is no machine image",
        "ProductionVariants.CapacityReservationConfig": _ONE_INSTANCE,
    },
)

_NO_STEPS = "moves the traffic at once; leave it out"
ENDPOINT = Members(
    _paths("""
        EndpointName EndpointConfigName Tags(Key Value)
        DeploymentConfig(BlueGreenUpdatePolicy(TrafficRoutingConfiguration(Type)))
    """),
    {
        "RetainAllVariantProperties": "takes weights from the new configuration; leave it out",
        "ExcludeRetainedVariantProperties": "takes weights from the new configuration; leave it out",
        "DeploymentConfig.BlueGreenUpdatePolicy.TrafficRoutingConfiguration.CanarySize": _NO_STEPS,
        "DeploymentConfig.BlueGreenUpdatePolicy.TrafficRoutingConfiguration.LinearStepSize": _NO_STEPS,
        "DeploymentConfig.RollingUpdatePolicy": "replaces all of a variant at once; leave it out",
        "DeploymentConfig.AutoRollbackConfiguration": "has no alarms; leave it out",
    },
    {
        "DeploymentConfig.BlueGreenUpdatePolicy": "the old container ends when it has answered what it had "
        "accepted",
        "DeploymentConfig.BlueGreenUpdatePolicy.TrafficRoutingConfiguration.WaitIntervalInSeconds": "the "
        "traffic moves at once",
        "RetainDeploymentConfig": "there is one way to deploy",
    },
)

TRANSFORM = Members(
    _paths("""
        TransformJobName ModelName MaxConcurrentTransforms MaxPayloadInMB BatchStrategy Environment
        Tags(Key Value)
        ModelClientConfig(InvocationsTimeoutInSeconds InvocationsMaxRetries)
        TransformInput(DataSource(S3DataSource(S3DataType S3Uri)) ContentType CompressionType SplitType)
        TransformOutput(S3OutputPath Accept AssembleWith)
        TransformResources(InstanceType InstanceCount)
        DataProcessing(InputFilter OutputFilter JoinSource)
    """),
    {
        "DataCaptureConfig": "captures no data; leave it out",
        "ExperimentConfig": _NO_EXPERIMENTS,
    },
    {
        "TransformOutput.KmsKeyId": _NO_KEYS,
        "TransformResources.VolumeKmsKeyId": _NO_KEYS,
        "TransformResources.TransformAmiVersion": "there is no machine image",
    },
)

OPERATIONS: Mapping[str, Members] = {
    "CreateTrainingJob": TRAINING,
    "UpdateTrainingJob": TRAINING_UPDATE,
    "CreateHyperParameterTuningJob": TUNING,
    "CreateModel": MODEL,
    "CreateEndpointConfig": ENDPOINT_CONFIG,
    "CreateEndpoint": ENDPOINT,
    "UpdateEndpoint": ENDPOINT,
    "CreateTransformJob": TRANSFORM,
}
