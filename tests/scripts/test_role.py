"""The role that byoc makes, and what of it can be known."""

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws

from contract.errors import ByocError
from scripts import account, doctor, role
from scripts.aws import Clients, connect
from scripts.settings import Settings, load
from tests.scripts.conftest import Refuse

BOUNDARY = "arn:aws:iam::123456789012:policy/limits"


def settings_of(*overrides: str) -> Settings:
    return load(required=False, overrides=overrides, environment={})


@pytest.fixture
def clients(aws: None, project: object, settings: Settings) -> Clients:
    return connect(settings)


def test_a_role_is_looked_up(clients: Clients, settings: Settings) -> None:
    boto3.client("iam").create_role(
        RoleName="byoc-sagemaker", Path="/service-role/", AssumeRolePolicyDocument="{}"
    )
    found = account.role(settings, clients)
    assert found == account.Role("arn:aws:iam::123456789012:role/service-role/byoc-sagemaker", new=True)


def test_without_the_permission_its_arn_is_built(
    clients: Clients, settings: Settings, refuse: Refuse
) -> None:
    with refuse("GetRole", "AccessDenied"), refuse("ListRoles", "AccessDenied"):
        found = account.role(settings, clients)
    assert found == account.Role("arn:aws:iam::123456789012:role/byoc-sagemaker", guessed=True)


@pytest.mark.parametrize("name", ["mine", "service-role/mine"])
def test_a_user_with_the_managed_policy_only_finds_a_role_of_the_console(
    clients: Clients, refuse: Refuse, name: str
) -> None:
    """AmazonSageMakerFullAccess has iam:ListRoles, and no iam:GetRole."""
    iam = boto3.client("iam")
    iam.create_role(RoleName="mine-too", AssumeRolePolicyDocument="{}")
    iam.create_role(RoleName="mine", Path="/service-role/", AssumeRolePolicyDocument='{"a": "ec2"}')
    expected = account.Role("arn:aws:iam::123456789012:role/service-role/mine", new=True)
    settings = settings_of(f"aws.role={name}")
    assert account.role(settings, clients) == expected
    with refuse("GetRole", "AccessDenied"):
        assert account.role(settings, clients) == expected
        assert "does not let SageMaker take it" in doctor.role(settings, clients).message
        with pytest.raises(ByocError, match="There is no IAM role other"):
            account.role(settings_of("aws.role=other"), clients)


def test_an_arn_is_taken_as_it_is(clients: Clients) -> None:
    arn = "arn:aws-cn:iam::123456789012:role/x/y"
    assert account.role(settings_of(f"aws.role={arn}"), clients) == account.Role(arn)


@pytest.mark.slow
def test_a_role_is_made_with_tags_boundary_and_what_the_managed_policy_lacks(
    project: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        settings = settings_of(
            f"aws.permissions_boundary={BOUNDARY}", "aws.tags.team=pictures", "aws.bucket=our-pictures"
        )
        clients = connect(settings)
        role.create(settings, clients)
        made: Any = clients.iam.get_role(RoleName="byoc-sagemaker")["Role"]
        assert made["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY
        assert {tag["Key"]: tag["Value"] for tag in made["Tags"]} == {
            "byoc:project": "pictures", "team": "pictures"
        }  # fmt: skip
        name = "byoc-pictures"
        policy = clients.iam.get_role_policy(RoleName="byoc-sagemaker", PolicyName=name)["PolicyDocument"]
        assert "arn:aws:s3:::our-pictures/*" in json.dumps(policy)
        # Made here: it gets what is needed now.
        role.create(settings_of("aws.bucket=another", "aws.tags.team=cats", "aws.tags.cost=7"), clients)
        policy = clients.iam.get_role_policy(RoleName="byoc-sagemaker", PolicyName=name)["PolicyDocument"]
        assert "arn:aws:s3:::another/*" in json.dumps(policy)
        # Another project of the account takes nothing from this one.
        role.create(settings_of("project.name=dogs", "aws.bucket=third"), clients)
        tags = clients.iam.list_role_tags(RoleName="byoc-sagemaker")["Tags"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {
            "byoc:project": "pictures", "team": "cats", "cost": "7"
        }  # fmt: skip
        policies = clients.iam.list_role_policies(RoleName="byoc-sagemaker")["PolicyNames"]
        assert sorted(policies) == ["byoc-dogs", "byoc-pictures"]


def test_a_role_whose_answer_is_lost_gets_its_policies(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = clients.iam.create_role
    policies: list[str] = []

    def lost(**request: Any) -> Any:
        send(**request)
        raise ReadTimeoutError(endpoint_url="https://iam.amazonaws.com")

    monkeypatch.setattr(clients.iam, "create_role", lost)
    monkeypatch.setattr(clients.iam, "attach_role_policy", lambda **it: policies.append(it["PolicyArn"]))
    assert role.create(settings, clients).endswith(":role/byoc-sagemaker")
    assert policies == ["arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"]


@pytest.mark.parametrize("name", ["arn:aws:iam::123456789012:role/x", "service-role/x"])
def test_only_a_plain_name_is_made_a_role(clients: Clients, name: str) -> None:
    with pytest.raises(ByocError, match=f"aws.role is no plain name .{name}."):
        role.create(settings_of(f"aws.role={name}"), clients)


def test_ec2s_word_for_a_missing_permission_is_known(clients: Clients, refuse: Refuse) -> None:
    settings = settings_of('aws.subnets=["subnet-1"]', 'aws.security_groups=["sg-1"]')
    with refuse("DescribeSubnets", "UnauthorizedOperation"):
        assert doctor.network(settings, clients).severity == "skipped"


def actions(settings: Settings) -> dict[str, set[str]]:
    found = role.statements(settings, "aws-cn", "cn-north-1", "123456789012")
    listed = {}
    for each in found:
        given = each["Action"] if isinstance(each["Action"], list) else [each["Action"]]
        listed.setdefault(each["Resource"], set()).update(given)
    return listed


def test_sagemakers_own_buckets_need_nothing() -> None:
    assert actions(settings_of()) == {}
    assert actions(settings_of("aws.bucket=my-sagemaker-things")) == {}


def test_a_bucket_of_ones_own_is_covered() -> None:
    found = actions(settings_of("aws.bucket=ours", "data.weights=s3://theirs/resnet/"))
    assert {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"} <= found["arn:aws-cn:s3:::ours/*"]
    assert "s3:ListBucket" in found["arn:aws-cn:s3:::ours"]
    assert found["arn:aws-cn:s3:::theirs/*"] == {"s3:GetObject"}


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        ("alias/pictures", "arn:aws-cn:kms:cn-north-1:123456789012:key/*"),
        ("1234abcd-12ab", "arn:aws-cn:kms:cn-north-1:123456789012:key/1234abcd-12ab"),
        ("arn:aws-cn:kms:cn-north-1:111122223333:key/k", "arn:aws-cn:kms:cn-north-1:111122223333:key/k"),
        ("arn:aws-cn:kms:cn-north-1:111122223333:alias/a", "arn:aws-cn:kms:cn-north-1:111122223333:key/*"),
    ],
)
def test_the_role_may_use_the_key(key: str, resource: str) -> None:
    settings = settings_of(f"aws.kms_key={key}")
    assert {"kms:Decrypt", "kms:GenerateDataKey*", "kms:CreateGrant"} <= actions(settings)[resource]
    for each in role.statements(settings, "aws-cn", "cn-north-1", "123456789012"):
        if "alias/" in key:  # not every key of the account
            aliases = each["Condition"]["ForAnyValue:StringEquals"]["kms:ResourceAliases"]
            assert aliases == "alias/" + key.rpartition("/")[2]
