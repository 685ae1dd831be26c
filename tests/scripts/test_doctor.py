"""What the doctor asks AWS before anything is paid for."""

import fnmatch
from typing import Any

import boto3
import pytest

from contract.errors import ByocError
from scripts import doctor
from scripts.aws import Clients, connect
from scripts.settings import Settings, load
from tests.scripts.conftest import Refuse


def settings_of(*overrides: str) -> Settings:
    return load(required=False, overrides=overrides, environment={})


@pytest.fixture
def clients(aws: None, project: object, settings: Settings) -> Clients:
    return connect(settings)


@pytest.mark.parametrize(
    ("who", "asked"),
    [
        ("arn:aws:iam::123456789012:user/me", "arn:aws:iam::123456789012:user/me"),
        (
            "arn:aws-cn:sts::123456789012:assumed-role/Team/session",
            "arn:aws-cn:iam::123456789012:role/Team",
        ),
    ],
)
def test_what_iam_does_not_allow_is_named(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, who: str, asked: str
) -> None:
    seen: list[str] = []

    def simulate(PolicySourceArn: str, ActionNames: list[str], **_: Any) -> Any:
        seen.append(PolicySourceArn)
        return {
            "EvaluationResults": [
                {
                    "EvalActionName": name,
                    "EvalDecision": "implicitDeny" if name == "s3:PutObject" else "allowed",
                }
                for name in ActionNames
            ]
        }

    monkeypatch.setattr(clients.sts, "get_caller_identity", lambda: {"Arn": who, "Account": "123456789012"})
    monkeypatch.setattr(clients.iam, "simulate_principal_policy", simulate)
    found = doctor.permissions(settings_of(), clients)
    assert found.severity == "warning"
    assert found.message == f"{asked} may not do s3:PutObject"
    assert set(seen) == {asked}


def test_what_amazon_sagemaker_full_access_allows_is_not_missed(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It allows these on resources of SageMaker only, and roles to be passed to SageMaker only."""
    limited = {
        "s3:PutObject": "arn:aws:s3:::*sagemaker*",
        "s3:DeleteObject": "arn:aws:s3:::*sagemaker*",
        "ecr:PutImage": "arn:aws:ecr:*:*:repository/*sagemaker*",
        "iam:PassRole": "arn:aws:iam::*:role/*",
    }

    def simulate(ActionNames: list[str], **asked: Any) -> Any:
        [resource] = asked.get("ResourceArns", ["*"])
        context = {each["ContextKeyName"]: each["ContextKeyValues"] for each in asked["ContextEntries"]}

        def allows(action: str) -> bool:
            if action == "iam:PassRole" and context.get("iam:PassedToService") != ["sagemaker.amazonaws.com"]:
                return False
            return fnmatch.fnmatchcase(resource, limited.get(action, "*"))

        decisions = {True: "allowed", False: "implicitDeny"}
        return {
            "EvaluationResults": [
                {"EvalActionName": name, "EvalDecision": decisions[allows(name)]} for name in ActionNames
            ]
        }

    monkeypatch.setattr(clients.iam, "simulate_principal_policy", simulate)
    assert doctor.permissions(settings_of(), clients).severity == "ok"
    found = doctor.permissions(settings_of("aws.bucket=pictures"), clients)
    assert found.message.endswith("may not do s3:PutObject, s3:DeleteObject")


def test_without_the_permission_to_ask_nothing_is_said(clients: Clients, refuse: Refuse) -> None:
    for operation, check in (
        ("SimulatePrincipalPolicy", lambda: doctor.permissions(settings_of(), clients)),
        ("GetRole", lambda: doctor.role(settings_of(), clients)),
        ("DescribeKey", lambda: doctor.key(settings_of("aws.kms_key=alias/mine"), clients)),
        ("DescribeSubnets", lambda: doctor.network(settings_of(), clients)),
    ):
        with refuse(operation, "AccessDeniedException"), refuse("ListRoles", "AccessDenied"):
            assert check().severity == "skipped", operation


def test_a_key_that_may_be_used(clients: Clients) -> None:
    kms = boto3.client("kms", "us-east-1")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/mine", TargetKeyId=key)
    assert key in doctor.key(settings_of("aws.kms_key=alias/mine"), clients).message
    kms.disable_key(KeyId=key)
    found = doctor.key(settings_of(f"aws.kms_key={key}"), clients)
    assert (found.severity, found.message) == ("error", f"{key} is Disabled")


def test_subnets_and_groups_of_one_vpc(clients: Clients) -> None:
    ec2 = boto3.client("ec2", "us-east-1")
    subnet = ec2.describe_subnets()["Subnets"][0]
    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    groups = {
        vpc: ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
        for vpc in (subnet["VpcId"], other)
    }
    for vpc, severity in ((subnet["VpcId"], "ok"), (other, "error")):
        names = f'aws.subnets=["{subnet["SubnetId"]}"]', f'aws.security_groups=["{groups[vpc]}"]'
        assert doctor.network(settings_of(*names), clients).severity == severity


def test_machines_that_the_images_cannot_run_on() -> None:
    assert doctor.chosen_machines(settings_of()).severity == "ok"
    for use in ("train", "deploy", "transform"):
        with pytest.raises(ByocError, match=f"{use}.instance_type is ml.m6g.large: it has Arm"):
            doctor.chosen_machines(settings_of(f"{use}.instance_type=ml.m6g.large"))


def test_a_bucket_of_another_region(clients: Clients) -> None:
    boto3.client("s3", "eu-west-1").create_bucket(
        Bucket="bilder", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    with pytest.raises(ByocError, match="is in eu-west-1, and the jobs are in us-east-1"):
        doctor.bucket(settings_of("aws.bucket=bilder"), clients)
