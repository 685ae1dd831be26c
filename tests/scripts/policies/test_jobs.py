"""The role's policy, against what the requests make SageMaker do: read, write, pull, log, encrypt."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract import s3
from scripts.policies.grants import document
from scripts.policies.jobs import jobs
from scripts.policies.names import Names
from scripts.settings import load
from tests.scripts.policies.calls import Where, members
from tests.scripts.policies.evaluate import allows
from tests.scripts.policies.test_user import authorization_reference

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "scripts" / "golden"
WHERE = Where()
LOGS = ("CreateLogGroup", "CreateLogStream", "PutLogEvents", "DescribeLogStreams")
PULL = ("BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "BatchGetImage")
NETWORK = (
    "CreateNetworkInterface", "CreateNetworkInterfacePermission", "DeleteNetworkInterface",
    "DeleteNetworkInterfacePermission", "DescribeNetworkInterfaces", "DescribeVpcs", "DescribeDhcpOptions",
    "DescribeSubnets", "DescribeSecurityGroups",
)  # fmt: skip
# The settings that the golden requests were built from, as far as the role is concerned.
PLAIN = ("project.name=digits",)
EVERYTHING = (
    "project.name=flowers",
    "aws.prefix=team/flowers/",
    "aws.kms_key=alias/flowers",
    'aws.subnets=["subnet-0a"]',
    'aws.security_groups=["sg-0a"]',
    "data.weights=s3://weights/resnet50/",
)


def policy_of(*overrides: str) -> dict[str, Any]:
    settings = load(required=False, overrides=overrides, environment={})
    return document(jobs(Names(settings, "aws", "us-east-1", "123456789012")))


def read(golden: Path) -> str:
    """The request, with the project's own folder where an artifact or pictures lie just anywhere."""
    folder = "team/flowers" if "everything" in golden.name else "byoc/digits"
    return golden.read_text().replace("s3://bucket/", f"s3://sagemaker-us-east-1-123456789012/{folder}/")


def needs_of(request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What AWS's page on execution roles says that a request makes SageMaker do, with ARNs."""
    stream = WHERE.arn("logs", "log-group:/aws/sagemaker/TrainingJobs:log-stream:a/algo-1-1")
    yield from ((f"logs:{action}", stream) for action in LOGS)
    yield "cloudwatch:PutMetricData", "*"
    for name in ("TrainingImage", "Image"):
        for image in members(request, name):
            yield "ecr:GetAuthorizationToken", "*"
            repository = image.partition("/")[2].partition("@")[0].partition(":")[0]
            yield from ((f"ecr:{action}", WHERE.arn("ecr", f"repository/{repository}")) for action in PULL)
    outputs = [*members(request, "S3OutputPath")]
    checkpoints = [*members(request.get("CheckpointConfig", {}), "S3Uri")]
    checkpoints += members(request.get("TrainingJobDefinition", {}).get("CheckpointConfig", {}), "S3Uri")
    inputs = {*members(request, "S3Uri"), *members(request, "ModelDataUrl")} - {*checkpoints}
    for uri in (*inputs, *checkpoints):
        bucket, key = s3.split(uri)
        yield "s3:ListBucket", f"arn:aws:s3:::{bucket}"
        yield "s3:GetObject", f"arn:aws:s3:::{bucket}/{key.rstrip('/')}/a.png"
    for uri in (*outputs, *checkpoints):
        bucket, key = s3.split(uri)
        yield "s3:PutObject", f"arn:aws:s3:::{bucket}/{key}/job/output/model.tar.gz"
    for uri in checkpoints:  # its folder follows what the trainer deletes
        bucket, key = s3.split(uri)
        yield "s3:DeleteObject", f"arn:aws:s3:::{bucket}/{key}/step-1.pt"
    if [*members(request, "KmsKeyId")]:
        for action in ("Decrypt", "Encrypt", "GenerateDataKey", "DescribeKey"):
            yield f"kms:{action}", WHERE.key_arn("alias/flowers")
    if [*members(request, "VolumeKmsKeyId"), *members(request, "KmsKeyId")]:
        yield "kms:CreateGrant", WHERE.key_arn("alias/flowers")
    if "VpcConfig" in json.dumps(request):
        yield from ((f"ec2:{action}", "*") for action in NETWORK)


@pytest.mark.parametrize(
    ("golden", "overrides"),
    [
        ("training_job", PLAIN),
        ("tuning_job", PLAIN),
        ("model", PLAIN),
        ("transform_job", PLAIN),
        ("conversion_job", PLAIN),
        ("training_job_with_everything", EVERYTHING),
        ("tuning_job_with_everything", EVERYTHING),
        ("model_with_everything", EVERYTHING),
    ],
)
def test_jobs_may_do_what_their_requests_make_them_do(golden: str, overrides: tuple[str, ...]) -> None:
    policy = policy_of(*overrides)
    request = json.loads(read(GOLDEN / f"{golden}.json"))
    assert [need for need in needs_of(request) if not allows(policy, *need)] == []


def test_nothing_is_allowed_that_no_request_needs() -> None:
    needed = set[str]()
    for path in GOLDEN.glob("*.json"):
        needed |= {action for action, _ in needs_of(json.loads(read(path)))}
    policy = policy_of(*EVERYTHING)
    assert {action for statement in policy["Statement"] for action in statement["Action"]} == needed


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:GetObject", "arn:aws:s3:::sagemaker-us-east-1-123456789012/byoc/other/data/train/a.png"),
        ("s3:GetObject", "arn:aws:s3:::sagemaker-us-east-1-123456789012/byoc/pictures-of-others/a.png"),
        ("s3:PutObject", "arn:aws:s3:::sagemaker-us-east-1-123456789012/byoc/pictures/data/train/a.png"),
        ("s3:DeleteObject", "arn:aws:s3:::sagemaker-us-east-1-123456789012/byoc/pictures/output/m.tar.gz"),
        ("ecr:BatchGetImage", "arn:aws:ecr:us-east-1:123456789012:repository/somebody-elses"),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/byoc-sagemaker"),
        ("kms:Decrypt", "arn:aws:kms:us-east-1:123456789012:key/any"),
    ],
)
def test_what_is_not_the_projects_stays_out_of_reach(action: str, resource: str) -> None:
    assert not allows(policy_of(), action, resource)


def test_everything_that_can_be_allowed_on_less_is() -> None:
    reference = authorization_reference()
    for statement in policy_of(*EVERYTHING)["Statement"]:
        for action in statement["Action"]:
            service, _, name = action.partition(":")
            resources = reference[service]["Actions"][name.lower()].get("Resources")
            # The ids of interfaces are not known before; metrics have no ARN, only newer data sets do.
            unknown = service in ("ec2", "cloudwatch")
            assert statement["Resource"] != "*" or not resources or unknown, action


def test_images_and_weights_of_others_and_pictures_of_requests_are_in_reach() -> None:
    policy = policy_of(
        "images.train=111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/trainer:1",
        "deploy.environment.BYOC_S3_PREFIXES=s3://inbox/new/, s3://other/",
        "data.weights=s3://weights/resnet50/",
    )
    assert allows(policy, "ecr:BatchGetImage", "arn:aws:ecr:eu-west-1:111122223333:repository/team/trainer")
    assert allows(policy, "s3:GetObject", "arn:aws:s3:::inbox/new/1.jpg")
    assert allows(policy, "s3:GetObject", "arn:aws:s3:::other/1.jpg")
    assert not allows(policy, "s3:GetObject", "arn:aws:s3:::inbox/old/1.jpg")
    assert allows(policy, "s3:GetObject", "arn:aws:s3:::weights/resnet50/resnet50.pth")


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        ("alias/pictures", "arn:aws:kms:us-east-1:123456789012:key/*"),
        ("1234abcd-12ab", "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab"),
        ("arn:aws:kms:us-east-1:111122223333:key/k", "arn:aws:kms:us-east-1:111122223333:key/k"),
        ("arn:aws:kms:us-east-1:111122223333:alias/a", "arn:aws:kms:us-east-1:111122223333:key/*"),
    ],
)
def test_the_role_may_use_the_key_and_no_other(key: str, resource: str) -> None:
    of_key = [each for each in policy_of(f"aws.kms_key={key}")["Statement"] if each["Resource"] == resource]
    assert {action for each in of_key for action in each["Action"]} >= {"kms:Decrypt", "kms:CreateGrant"}
    for each in of_key:
        if "alias/" in key:
            aliases = each["Condition"]["ForAnyValue:StringEquals"]["kms:ResourceAliases"]
            assert aliases == "alias/" + key.rpartition("/")[2]


def test_the_policy_fits_into_a_role_that_several_projects_share() -> None:
    """Inline policies of a role have 10,240 characters in all (IAM, "IAM and STS quotas")."""
    assert len(json.dumps(policy_of(*EVERYTHING), separators=(",", ":"))) < 10_240 / 3


def test_the_containers_themselves_ask_aws_for_pictures_only() -> None:
    """Everything else SageMaker does for them; `test_jobs_may_do_what_…` has the pictures."""
    clients = {}
    for room in ("train", "serve", "model", "debugger", "contract"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                    "boto3.client",
                    "boto3.resource",
                ):
                    clients[str(path.relative_to(ROOT))] = ast.unparse(node.args[0])
    assert clients == {"serve/s3.py": "'s3'"}
    source = (ROOT / "serve" / "s3.py").read_text()
    assert ".get_object(" in source
    assert not [word for word in ("put_object", "list_objects", "head_object", "delete") if word in source]
