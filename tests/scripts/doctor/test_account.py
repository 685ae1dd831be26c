"""Credentials, clock, permissions, role, key: what the doctor says of the account."""

import fnmatch
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from scripts.aws import Clients
from scripts.doctor import credentials, key, permissions, role
from scripts.doctor.finding import Finding
from scripts.policies.user import user
from scripts.setup import role as made
from scripts.setup.plan import send
from tests.scripts.conftest import Refuse
from tests.scripts.doctor.conftest import names_of, settings_of

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def test_who_one_is_and_that_the_clock_is_right(clients: Clients) -> None:
    who, clock = credentials.credentials(clients)
    assert (who.severity, clock.severity) == ("ok", "ok")
    assert "in us-east-1 at AWS" in who.message


def test_root_is_warned_of(clients: Clients) -> None:
    with Stubber(clients.sts) as stub:
        stub.add_response("get_caller_identity", {"Arn": "arn:aws:iam::123456789012:root"})
        _, warning = credentials.credentials(clients)
    assert warning.severity == "warning"
    assert "byoc setup --print user-policy" in warning.remedy


@pytest.mark.parametrize(
    ("seconds", "severity", "message"),
    [
        (20, "ok", "20 s from AWS's"),
        (-100, "warning", "is 100 s behind AWS's"),
        (400, "error", "is 400 s ahead of AWS's"),
    ],
)
def test_a_wrong_clock_is_noticed_before_aws_refuses_everything(
    seconds: float, severity: str, message: str
) -> None:
    found = credentials.clock(NOW, NOW + timedelta(seconds=seconds))
    assert found.severity == severity
    assert message in found.message


def simulating(monkeypatch: pytest.MonkeyPatch, clients: Clients, decide: Any) -> list[dict[str, Any]]:
    """IAM's simulator in memory; what it was asked."""
    asked: list[dict[str, Any]] = []

    class Pages:
        def paginate(self, **request: Any) -> Any:
            asked.append(request)
            [resource] = request["ResourceArns"]
            yield {
                "EvaluationResults": [
                    {
                        "EvalActionName": name,
                        "EvalDecision": "allowed" if decide(name, resource) else "implicitDeny",
                    }
                    for name in request["ActionNames"]
                ]
            }

    monkeypatch.setattr(clients.iam, "get_paginator", lambda name: Pages())
    return asked


def test_every_action_of_the_users_policy_is_asked_for(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = simulating(monkeypatch, clients, lambda *_: True)
    names = names_of("aws.kms_key=alias/mine")
    [found] = permissions.permissions(names, clients)
    wanted = {action for each in user(names) for action in each.actions}
    assert {action for request in asked for action in request["ActionNames"]} == wanted
    assert found == Finding(
        "permissions", "ok", f"all {len(wanted)} actions of the user's policy are allowed"
    )
    for request in asked:
        assert "*" not in request["ResourceArns"][0] or request["ResourceArns"] == ["*"]
        context = {each["ContextKeyName"]: each["ContextKeyValues"] for each in request["ContextEntries"]}
        assert context["iam:PassedToService"] == ["sagemaker.amazonaws.com"]
        assert context["kms:ResourceAliases"] == ["alias/mine"]


def test_what_is_missing_is_named_with_the_commands_that_need_it(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulating(monkeypatch, clients, lambda name, _: name not in ("s3:PutObject", "tag:GetResources"))
    error, warning = permissions.permissions(names_of(), clients)
    assert (error.severity, warning.severity) == ("error", "warning")
    assert "may not do s3:PutObject (transform, upload)" in error.message
    assert "tag:GetResources (delete, jobs, web); byoc works without" in warning.message


def test_amazon_sagemaker_full_access_is_nearly_enough(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its S3 and ECR are those of SageMaker's names only."""
    limited = {
        "s3:PutObject": "arn:aws:s3:::*sagemaker*",
        "ecr:PutImage": "arn:aws:ecr:*:*:repository/*sagemaker*",
        "iam:PassRole": "arn:aws:iam::*:role/*",
    }
    simulating(
        monkeypatch, clients, lambda name, resource: fnmatch.fnmatchcase(resource, limited.get(name, "*"))
    )
    [found] = permissions.permissions(names_of(), clients)
    assert found.severity == "ok"
    [found] = permissions.permissions(names_of("aws.bucket=pictures"), clients)
    assert "s3:PutObject" in found.message


def test_where_iam_may_not_be_asked_nothing_is_said(clients: Clients, refuse: Refuse) -> None:
    with refuse("SimulatePrincipalPolicy", "AccessDenied"):
        [found] = permissions.permissions(names_of(), clients)
    assert found.severity == "skipped"


@pytest.mark.parametrize(
    ("arn", "principal"),
    [
        ("arn:aws:iam::123456789012:user/me", "arn:aws:iam::123456789012:user/me"),
        ("arn:aws-cn:sts::123456789012:assumed-role/Team/session", "arn:aws-cn:iam::123456789012:role/Team"),
    ],
)
def test_whom_iam_is_asked_about(arn: str, principal: str) -> None:
    assert permissions.principal(arn) == principal


def test_a_role_that_sagemaker_may_not_take(clients: Clients, refuse: Refuse) -> None:
    trust = '{"Version": "2012-10-17", "Statement": {"Principal": {"Service": "ec2.amazonaws.com"}}}'
    boto3.client("iam").create_role(RoleName="byoc-sagemaker", AssumeRolePolicyDocument=trust)
    [found] = role.role(settings_of(), clients)
    assert "does not let SageMaker take it" in found.message
    with refuse("GetRole", "AccessDenied"), refuse("ListRoles", "AccessDenied"):
        assert [each.severity for each in role.role(settings_of(), clients)] == ["skipped"]


def test_a_role_whose_policy_is_older_than_the_settings(clients: Clients, refuse: Refuse) -> None:
    send(clients, made.planned(names_of(), clients), pytest.fail)
    assert [each.severity for each in role.role(settings_of(), clients)] == ["ok", "ok"]
    _, changed = role.role(settings_of("data.weights=s3://weights/resnet/"), clients)
    assert changed.severity == "warning"
    assert "byoc setup" in changed.remedy
    with refuse("GetRolePolicy", "AccessDenied"):
        assert [each.severity for each in role.role(settings_of(), clients)] == ["ok"]
    # Somebody else's role: nothing is known of its policies.
    assert len([*role.role(settings_of("project.name=dogs"), clients)]) == 1


def test_a_key_that_may_be_used(clients: Clients, refuse: Refuse) -> None:
    kms = boto3.client("kms", "us-east-1")
    made = kms.create_key()["KeyMetadata"]
    arn = made["Arn"]
    kms.create_alias(AliasName="alias/mine", TargetKeyId=arn)
    settings = settings_of("aws.kms_key=alias/mine", "aws.role=arn:aws:iam::123456789012:role/x")
    found, policy = key.key(settings, clients)
    assert arn in found.message
    assert policy.severity == "ok"
    with refuse("GetKeyPolicy", "AccessDeniedException"):
        assert [each.severity for each in key.key(settings, clients)] == ["ok", "skipped"]
    with refuse("DescribeKey", "AccessDeniedException"):
        assert [each.severity for each in key.key(settings, clients)] == ["skipped"]
    kms.disable_key(KeyId=made["KeyId"])
    [found] = key.key(settings, clients)
    assert (found.severity, found.message) == ("error", "alias/mine is Disabled")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"KeySpec": "RSA_2048"}, "symmetric keys only"),
        (
            {"Arn": "arn:aws:kms:eu-west-1:123456789012:key/k"},
            "is in eu-west-1, and the jobs are in us-east-1",
        ),
    ],
)
def test_keys_that_cannot_encrypt(metadata: dict[str, str], message: str) -> None:
    whole = {"KeyState": "Enabled", "Arn": "arn:aws:kms:us-east-1:123456789012:key/k", **metadata}
    found = key.unfit("k", whole, "us-east-1")
    assert found
    assert message in found.message


ROLE = "arn:aws:iam::123456789012:role/byoc-sagemaker"


@pytest.mark.parametrize(
    ("principal", "actions", "severity"),
    [
        ({"AWS": "arn:aws:iam::123456789012:root"}, "kms:*", "ok"),
        ({"AWS": [ROLE]}, ["kms:Decrypt", "kms:GenerateDataKey"], "ok"),
        ({"AWS": "arn:aws:iam::999999999999:root"}, "kms:*", "error"),
        ({"AWS": "arn:aws:iam::123456789012:root"}, "kms:Describe*", "error"),
        ({"Service": "s3.amazonaws.com"}, "kms:*", "error"),
    ],
)
def test_the_keys_own_policy(principal: dict[str, Any], actions: Any, severity: str) -> None:
    policy = {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": actions, "Resource": "*"}]}
    assert key.key_policy(policy, ROLE, "aws", "123456789012").severity == severity
