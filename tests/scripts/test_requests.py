"""What is sent to SageMaker, held by files: delete one in golden/ and run the test to write it anew."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from scripts import requests
from scripts.errors import ByocError
from scripts.requests import Place, Request
from scripts.settings import Settings, load

GOLDEN = Path(__file__).parent / "golden"
PLACE = Place(
    role_arn="arn:aws:iam::123456789012:role/byoc-sagemaker",
    bucket="sagemaker-us-east-1-123456789012",
    train_image="123456789012.dkr.ecr.us-east-1.amazonaws.com/byoc-train:latest",
    serve_image="123456789012.dkr.ecr.us-east-1.amazonaws.com/byoc-serve@sha256:" + "0" * 64,
    metrics=({"Name": "validation:accuracy", "Regex": r"(?:^|\s)validation_accuracy=([-+0-9.eEinfa]+)"},),
)
EVERYTHING = [
    "project.name=flowers",
    "aws.prefix=team/flowers/",
    "aws.kms_key=alias/flowers",
    'aws.subnets=["subnet-0a"]',
    'aws.security_groups=["sg-0a"]',
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


def settings_of(*overrides: str) -> Settings:
    return load(required=False, overrides=overrides, environment={})


PLAIN = settings_of("project.name=digits")
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
    "training_job_bare": (
        "CreateTrainingJob",
        lambda: requests.training_job(
            settings_of("debugger.enabled=false", "profiler.enabled=false"), PLACE, "pictures-train-1"
        ),
    ),
    "training_job_with_rules_apart": (
        "CreateTrainingJob",
        lambda: requests.training_job(settings_of("debugger.evaluator=processing"), PLACE, "digits-train-1"),
    ),
    "rules_job": ("CreateProcessingJob", lambda: requests.rules_job(PLAIN, PLACE, "digits-train-1")),
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
                "tune.hyperparameters.epochs=3",
                "tune.ranges.epochs={min = 2, max = 9, scale = 'linear'}",
                "tune.ranges.momentum={min = 0.8, max = 0.99, scale = 'reverse_log'}",
                "tune.ranges.optimizer=['sgd', 'adamw']",
            ),
            FULL_PLACE,
            "flowers-tune-1",
        ),
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
    assert not list(wrong_enums(build(), shape))


def wrong_enums(value: Any, shape: Any, path: str = "") -> Any:
    """Values that are not among the model's own: botocore does not look at them before sending."""
    if shape.type_name == "structure":
        for key, item in value.items():
            yield from wrong_enums(item, shape.members[key], f"{path}.{key}")
    elif shape.type_name == "list":
        for item in value:
            yield from wrong_enums(item, shape.member, f"{path}[]")
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        yield f"{path}: {value}"


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(CASES)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tune.strategy=Grid"], "Grid search takes lists"),
        (["tune.strategy=Hyperband", "tune.early_stopping=true"], "Hyperband stops trials by itself"),
        (["tune.ranges={}"], "nothing to tune"),
    ],
)
def test_tuning_that_sagemaker_would_refuse(overrides: list[str], message: str) -> None:
    with pytest.raises(ByocError, match=message):
        requests.tuning_job(settings_of(*overrides), PLACE, "x")


def test_too_much_payload_for_batch_transform() -> None:
    with pytest.raises(ByocError, match="at most 100"):
        requests.transform_job(
            settings_of("transform.max_payload_mb=30", "transform.parallel=4"), PLACE, "x", "m", "s3://b/"
        )


@pytest.mark.parametrize(
    ("instance_type", "gpu"),
    [("ml.g4dn.xlarge", True), ("ml.p3.2xlarge", True), ("ml.g6e.4xlarge", True), ("ml.m5.large", False),
     ("ml.c5.xlarge", False), ("ml.t2.medium", False), ("ml.inf2.xlarge", False)],
)  # fmt: skip
def test_which_machines_have_nvidia_gpus(instance_type: str, gpu: bool) -> None:
    assert requests.has_gpu(instance_type) is gpu
