"""What is sent to SageMaker, held by files: delete one in golden/ and run the test to write it anew."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from contract.errors import ByocError
from local import shapes
from local.errors import AwsError
from scripts import awsdebugger, requests, warmstart
from scripts.awsdebugger import Request
from scripts.requests import Place
from scripts.settings import Settings, load

GOLDEN = Path(__file__).parent / "golden"
PLACE = Place(
    role_arn="arn:aws:iam::123456789012:role/byoc-sagemaker",
    bucket="sagemaker-us-east-1-123456789012",
    train_image="123456789012.dkr.ecr.us-east-1.amazonaws.com/sagemaker-byoc-train:latest",
    serve_image="123456789012.dkr.ecr.us-east-1.amazonaws.com/sagemaker-byoc-serve@sha256:" + "0" * 64,
    metrics=({"Name": "validation:accuracy", "Regex": r"(?:^|\s)validation_accuracy=([-+0-9.eEinfa]+)"},),
)
EVERYTHING = [
    "project.name=flowers",
    "aws.prefix=team/flowers/",
    "aws.kms_key=alias/flowers",
    'aws.subnets=["subnet-0a"]',
    'aws.security_groups=["sg-0a"]',
    "aws.network_isolation=true",
    "aws.encrypt_between_containers=true",
    "aws.tags.team=pictures",
    "data.weights=s3://weights/resnet50/",
    "train.instance_type=ml.g5.12xlarge",
    "train.instance_count=2",
    "train.spot=true",
    "train.input_mode=FastFile",
    "train.environment.NCCL_DEBUG=INFO",
    "debugger.hook.save_interval=100",
    'debugger.rules=["LossNotDecreasing"]',
    "debugger.parameters.LossNotDecreasing.num_steps=20",
    'profiler.rules=["StepOutlier"]',
    "profiler.window_steps=3",
    "deploy.instance_type=ml.g5.xlarge",
    "deploy.environment.LOG=debug",
    "transform.instance_type=ml.g4dn.xlarge",
    "transform.parallel=8",
    "freeze=backbone",
    "lr=0.003",
]


# Of an earlier tuning job, which varied the batch size, too.
PARENT = {
    "HyperParameterTuningJobName": "digits-tune-4",
    "HyperParameterTuningJobConfig": {
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:accuracy"},
        "ParameterRanges": {
            "ContinuousParameterRanges": [{"Name": "lr"}],
            "CategoricalParameterRanges": [{"Name": "batch_size"}],
        },
    },
    "TrainingJobDefinition": {"StaticHyperParameters": {"epochs": "9"}},
}


def settings_of(*overrides: str) -> Settings:
    return load(required=False, overrides=overrides, environment={})


PLAIN = settings_of("project.name=digits")
ENCRYPTED = settings_of("project.name=digits", "aws.kms_key=alias/pictures")
FULL = settings_of(*EVERYTHING)
FULL_PLACE = replace(PLACE, channels=("train", "validation", "weights"))
ARTIFACT = "s3://bucket/output/digits-train/output/model.tar.gz"
CASES: dict[str, tuple[str, Callable[[], Request]]] = {
    "training_job": (
        "CreateTrainingJob",
        lambda: requests.training_job(PLAIN, PLACE, "digits-train-1", {"lr": "0.01", "batch_size": "32"}),
    ),
    "training_job_with_everything": (
        "CreateTrainingJob",
        lambda: requests.training_job(FULL, FULL_PLACE, "flowers-train-1"),
    ),
    "training_job_kept_warm_and_tried_again": (
        "CreateTrainingJob",
        lambda: requests.training_job(
            settings_of("train.keep_alive_minutes=30", "train.retries=2"), PLACE, "pictures-train-1"
        ),
    ),
    "training_job_bare": (
        "CreateTrainingJob",
        lambda: requests.training_job(
            settings_of("debugger.enabled=false", "profiler.enabled=false"), PLACE, "pictures-train-1"
        ),
    ),
    "training_job_with_awss_debugger": (
        "CreateTrainingJob",
        lambda: requests.training_job(
            settings_of("debugger.service=sagemaker", *EVERYTHING),
            replace(FULL_PLACE, rules_image=awsdebugger.rules_image("eu-west-1")),
            "flowers-train-1",
        ),
    ),
    "conversion_job": (
        "CreateTrainingJob",
        lambda: requests.conversion_job(PLAIN, PLACE, "digits-convert-1", ARTIFACT),
    ),
    "conversion_job_encrypted": (
        "CreateTrainingJob",
        lambda: requests.conversion_job(
            ENCRYPTED,
            replace(PLACE, key_arn="arn:aws:kms:us-east-1:123456789012:key/1"),
            "digits-c",
            ARTIFACT,
        ),
    ),
    "conversion_job_with_everything": (
        "CreateTrainingJob",
        lambda: requests.conversion_job(FULL, FULL_PLACE, "flowers-convert-1", ARTIFACT),
    ),
    "tuning_job": (
        "CreateHyperParameterTuningJob",
        lambda: requests.tuning_job(PLAIN, PLACE, "digits-tune-1"),
    ),
    "tuning_job_with_everything": (
        "CreateHyperParameterTuningJob",
        lambda: requests.tuning_job(
            settings_of(
                *EVERYTHING,
                "tune.strategy=Random",
                "tune.objective=validation:loss",
                "tune.early_stopping=true",
                "tune.stop_hopeless=true",
                'debugger.rules=["LossNotDecreasing", "ExplodingTensor"]',
                "tune.hyperparameters.epochs=3",
                "tune.ranges.epochs={min = 2, max = 9, scale = 'linear'}",
                "tune.ranges.momentum={min = 0.8, max = 0.99, scale = 'reverse_log'}",
                "tune.ranges.optimizer=['sgd', 'adamw']",
            ),
            FULL_PLACE,
            "flowers-tune-1",
        ),
    ),
    "tuning_job_grid": (
        "CreateHyperParameterTuningJob",
        lambda: requests.tuning_job(
            settings_of(
                "project.name=digits",
                "tune.strategy=Grid",
                "tune.parallel=9",
                "tune.ranges={lr = [0.01, 0.1], batch_size = [16, 32, 64]}",
            ),
            PLACE,
            "digits-tune-2",
        ),
    ),
    "tuning_job_hyperband": (
        "CreateHyperParameterTuningJob",
        lambda: requests.tuning_job(
            settings_of("project.name=digits", "tune.strategy=Hyperband", "tune.hyperparameters.epochs=9"),
            PLACE,
            "digits-tune-3",
        ),
    ),
    "tuning_job_warm_start": (
        "CreateHyperParameterTuningJob",
        lambda: warmstart.warm_started(
            requests.tuning_job(
                settings_of(
                    "project.name=digits",
                    "tune.strategy=Hyperband",
                    "tune.min_epochs=3",
                    "tune.hyperparameters.epochs=9",
                    "tune.ranges={lr = {min = 0.001, max = 0.03}}",
                ),
                PLACE,
                "digits-tune-5",
            ),
            [PARENT],
            "TransferLearning",
        ),
    ),
    "training_job_encrypted": (
        "CreateTrainingJob",
        lambda: requests.training_job(ENCRYPTED, PLACE, "digits-train-2"),
    ),
    "endpoint_config_encrypted": (
        "CreateEndpointConfig",
        lambda: requests.endpoint_config(ENCRYPTED, "digits-v-3", "digits-v-3"),
    ),
    "transform_job_encrypted": (
        "CreateTransformJob",
        lambda: requests.transform_job(ENCRYPTED, PLACE, "digits-batch-2", "digits-v-3", "s3://bucket/p/"),
    ),
    "model": ("CreateModel", lambda: requests.model(PLAIN, PLACE, "digits-v-1", ARTIFACT)),
    "model_with_everything": ("CreateModel", lambda: requests.model(FULL, PLACE, "flowers-v-1", ARTIFACT)),
    "endpoint_config": (
        "CreateEndpointConfig",
        lambda: requests.endpoint_config(PLAIN, "digits-v-1", "digits-v-1"),
    ),
    "endpoint_config_gpu": (
        "CreateEndpointConfig",
        lambda: requests.endpoint_config(FULL, "flowers-v-1", "flowers-v-1"),
    ),
    "endpoint": ("CreateEndpoint", lambda: requests.endpoint(PLAIN, "digits-v-1")),
    "endpoint_update": ("UpdateEndpoint", lambda: requests.endpoint_update(PLAIN, "digits-v-2")),
    "transform_job": (
        "CreateTransformJob",
        lambda: requests.transform_job(PLAIN, PLACE, "digits-batch-1", "digits-v-1", "s3://bucket/pictures/"),
    ),
    "transform_job_gpu": (
        "CreateTransformJob",
        lambda: requests.transform_job(
            FULL, PLACE, "flowers-batch-1", "flowers-v-1", "s3://bucket/input.manifest", "ManifestFile"
        ),
    ),
}


@pytest.fixture(scope="module")
def service() -> Any:
    return botocore.session.get_session().get_service_model("sagemaker")


@pytest.mark.parametrize("case", CASES)
def test_requests_are_as_the_golden_files_say(case: str) -> None:
    request = CASES[case][1]()
    file = GOLDEN / f"{case}.json"
    if not file.exists():
        file.write_text(json.dumps(request, indent=2) + "\n")
    assert request == json.loads(file.read_text())


@pytest.mark.parametrize("case", CASES)
def test_requests_are_valid_by_botocores_own_model(case: str, service: Any) -> None:
    operation, build = CASES[case]
    shape = service.operation_model(operation).input_shape
    problems = ParamValidator().validate(build(), shape)
    assert not problems.has_errors(), problems.generate_report()
    # Enumerations, patterns and limits: botocore does not look at them before sending, and AWS does.
    assert shapes.read(shape, build()) == build()


@pytest.mark.parametrize(
    "wrong",
    [{"TrainingJobName": "a_b"}, {"Environment": {"A B": "c"}}, {"RoleArn": "byoc"},
     {"Tags": [{"Key": "k" * 129, "Value": ""}]},
     {"ResourceConfig": {"InstanceType": "ml.m5.tiny", "InstanceCount": 1, "VolumeSizeInGB": 1}}],
)  # fmt: skip
def test_what_aws_would_refuse_is_seen(wrong: Request, service: Any) -> None:
    shape = service.operation_model("CreateTrainingJob").input_shape
    with pytest.raises(AwsError):
        shapes.read(shape, {**CASES["training_job"][1](), **wrong})


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(CASES)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tune.strategy=Grid"], "Grid search takes lists"),
        (["tune.strategy=Hyperband", "tune.early_stopping=true"], "Hyperband stops trials by itself"),
        (["tune.ranges={}"], "nothing to tune"),
        (
            ["tune.jobs=5", "tune.ranges={batch_size = [16, 32]}"],
            "tune.jobs is 5, and .* have 2 combinations",
        ),
        (
            [
                "tune.strategy=Grid",
                f"tune.ranges={{batch_size = {list(range(1, 31))}, seed = {list(range(400))}}}",
            ],
            "have 12000 combinations, and Grid tries each",
        ),
        (["tune.strategy=Hyperband", "epochs=1"], "from 1 to the hyperparameter epochs"),
        (
            ["tune.strategy=Hyperband", "tune.ranges={epochs = {min = 1, max = 9}}"],
            "from 1 to the hyperparameter epochs",
        ),
    ],
)
def test_tuning_that_sagemaker_would_refuse(overrides: list[str], message: str) -> None:
    with pytest.raises(ByocError, match=message):
        requests.tuning_job(settings_of(*overrides), PLACE, "x")


def test_rules_are_meant_in_whatever_case_they_are_written() -> None:
    settings = settings_of(
        'debugger.rules=["lossnotdecreasing"]',
        "debugger.parameters.LOSSNOTDECREASING.num_steps=20",
        "debugger.service=sagemaker",
        "tune.stop_hopeless=true",
    )
    assert requests.debugger_configuration(settings, trial=True).stop == ("LossNotDecreasing",)
    [rule] = requests.training_job(settings, PLACE, "x")["DebugRuleConfigurations"]
    assert rule["RuleConfigurationName"] == "LossNotDecreasing"
    assert rule["RuleParameters"] == {"rule_to_invoke": "LossNotDecreasing", "num_steps": "20"}


def test_a_value_that_is_listed_twice_is_asked_for_once() -> None:
    request = requests.tuning_job(settings_of("tune.jobs=2", "tune.ranges={epochs = [1, 2, 1]}"), PLACE, "x")
    [epochs] = request["HyperParameterTuningJobConfig"]["ParameterRanges"]["CategoricalParameterRanges"]
    assert epochs["Values"] == ["1", "2"]


def test_disks_of_training_jobs_are_given_the_key_behind_an_alias() -> None:
    """Of the places that take a key, ResourceConfig alone is documented without aliases."""
    settings, arn = settings_of("aws.kms_key=alias/mine"), "arn:aws:kms:us-east-1:123456789012:key/k"
    request = requests.training_job(settings, replace(PLACE, key_arn=arn), "x")
    assert request["ResourceConfig"]["VolumeKmsKeyId"] == arn
    assert request["OutputDataConfig"]["KmsKeyId"] == "alias/mine"


def test_too_much_payload_for_batch_transform() -> None:
    with pytest.raises(ByocError, match="at most 100"):
        requests.transform_job(
            settings_of("transform.max_payload_mb=30", "transform.parallel=4"), PLACE, "x", "m", "s3://b/"
        )


def test_the_key_and_the_tags_reach_everything_that_takes_them(service: Any) -> None:
    kinds = [f"{use}.instance_type=ml.m5.large" for use in ("train", "deploy", "transform")]
    settings = settings_of(*EVERYTHING, *kinds)
    built = [
        ("CreateTrainingJob", requests.training_job(settings, PLACE, "x")),
        ("CreateHyperParameterTuningJob", requests.tuning_job(settings, PLACE, "x")),
        ("CreateModel", requests.model(settings, PLACE, "x", ARTIFACT)),
        ("CreateEndpointConfig", requests.endpoint_config(settings, "x", "x")),
        ("CreateEndpoint", requests.endpoint(settings, "x")),
        ("CreateTransformJob", requests.transform_job(settings, PLACE, "x", "x", "s3://b/p/")),
    ]
    for operation, request in built:
        lacking = list(lacks(request, service.operation_model(operation).input_shape, operation))
        assert not lacking, lacking


def lacks(request: Any, shape: Any, path: str) -> Any:
    """Members for keys, tags, VPC, isolation and encryption that a request could have and has not."""
    if shape.type_name == "list":
        for item in request:
            yield from lacks(item, shape.member, path)
    if shape.type_name != "structure":
        return
    wanted = {"KmsKeyId", "VolumeKmsKeyId", "Tags", "VpcConfig", "EnableNetworkIsolation",
              "EnableInterContainerTrafficEncryption"}  # fmt: skip
    if shape.name == "CreateEndpointConfigInput":
        wanted -= {"VpcConfig", "EnableNetworkIsolation"}  # of inference components; a model has its own
    for member in wanted & set(shape.members) - set(request):
        yield f"{path}.{member}"
    for key, item in request.items():
        yield from lacks(item, shape.members[key], f"{path}.{key}")
