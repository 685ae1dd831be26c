from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest

Service = Any  # conftest.Service
Refused = Callable[..., str]
POLICY = (
    '{"rules": [{"rulePriority": 1, "action": {"type": "expire"}, "selection": {"tagStatus": "untagged", '
    '"countType": "imageCountMoreThan", "countNumber": 9}}]}'
)

DOCUMENT = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
)


def test_sts_knows_the_account(service: Service) -> None:
    assert service.client("sts").get_caller_identity()["Account"] == "123456789012"


def test_who_has_assumed_a_role_is_that_role(service: Service) -> None:
    role = {"RoleArn": "arn:aws:iam::123456789012:role/other", "RoleSessionName": "session"}
    given = service.client("sts").assume_role(**role)["Credentials"]
    session = boto3.Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name="us-east-1"
    )
    sts = session.client("sts", endpoint_url=service.url)
    service.clients.append(sts)
    assert sts.get_caller_identity()["Arn"] == "arn:aws:sts::123456789012:assumed-role/other/session"
    assert service.client("sts").get_caller_identity()["Arn"] == "arn:aws:sts::123456789012:user/moto"


def test_the_role_is_there(service: Service) -> None:
    role = service.client("iam").get_role(RoleName="byoc-sagemaker")["Role"]
    assert role["Arn"] == service.config.role_arn
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}


def test_any_role_may_be_used_and_is_there_from_then_on(service: Service) -> None:
    iam = service.client("iam")
    for _ in range(2):
        role = iam.get_role(RoleName="another")["Role"]
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}
        iam.put_role_policy(RoleName="another", PolicyName="p", PolicyDocument=DOCUMENT)
        service.restart()
        iam = service.client("iam")
    assert iam.list_role_policies(RoleName="another")["PolicyNames"] == ["p"]


def test_each_region_has_its_own_repositories(service: Service) -> None:
    abroad = boto3.client(
        "ecr",
        "eu-west-1",
        endpoint_url=service.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    service.clients.append(abroad)
    made = abroad.create_repository(repositoryName="mine")["repository"]
    assert made["repositoryArn"].startswith("arn:aws:ecr:eu-west-1:")
    service.restart()
    [found] = abroad.describe_repositories()["repositories"]
    assert found["repositoryUri"] == made["repositoryUri"]


def test_errors_are_aws(service: Service, refused: Refused) -> None:
    refused(service.client("iam").get_user, "NoSuchEntity", UserName="none")
    ecr = service.client("ecr")
    refused(ecr.describe_repositories, "RepositoryNotFoundException", repositoryNames=["none"])


def test_what_was_made_is_there_after_a_restart(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    ecr, iam = service.client("ecr"), service.client("iam")
    ecr.create_repository(repositoryName="byoc-train", imageTagMutability="IMMUTABLE")
    ecr.create_repository(repositoryName="gone")
    ecr.delete_repository(repositoryName="gone")
    ecr.put_lifecycle_policy(repositoryName="byoc-train", lifecyclePolicyText=POLICY)
    iam.create_role(RoleName="mine", AssumeRolePolicyDocument="{}")
    with pytest.raises(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName="mine", AssumeRolePolicyDocument="{}")
    journal = service.config.home / "moto.jsonl"
    assert len(journal.read_text().splitlines()) == 5
    service.stop()
    with journal.open("a") as file:
        file.write('{"service": "ecr", "met')  # killed while it wrote
    service.start()
    ecr = service.client("ecr")
    [repository] = ecr.describe_repositories()["repositories"]
    assert repository["repositoryName"] == "byoc-train"
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert ecr.get_lifecycle_policy(repositoryName="byoc-train")["lifecyclePolicyText"] == POLICY
    assert service.client("iam").get_role(RoleName="mine")["Role"]["RoleName"] == "mine"
    assert "line 6 is damaged" in caplog.text
    # What is written after the damaged line is read again.
    ecr.create_repository(repositoryName="later")
    service.restart()
    names = [each["repositoryName"] for each in service.client("ecr").describe_repositories()["repositories"]]
    assert sorted(names) == ["byoc-train", "later"]


def test_two_homes_do_not_share_their_memory(service: Service) -> None:
    assert service.client("ecr").describe_repositories()["repositories"] == []
