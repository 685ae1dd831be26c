from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Service = Any  # conftest.Service
Refused = Callable[..., str]
POLICY = (
    '{"rules": [{"rulePriority": 1, "action": {"type": "expire"}, "selection": {"tagStatus": "untagged", '
    '"countType": "imageCountMoreThan", "countNumber": 9}}]}'
)


def test_sts_knows_the_account(service: Service) -> None:
    assert service.client("sts").get_caller_identity()["Account"] == "123456789012"


def test_the_role_is_there(service: Service) -> None:
    role = service.client("iam").get_role(RoleName="byoc-sagemaker")["Role"]
    assert role["Arn"] == service.config.role_arn
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}


def test_errors_are_aws(service: Service, refused: Refused) -> None:
    refused(service.client("iam").get_role, "NoSuchEntity", RoleName="none")
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
