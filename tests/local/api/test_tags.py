from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Service = Any  # conftest.Service
Make = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def tag(key: str, value: str) -> dict[str, str]:
    return {"Key": key, "Value": value}


@pytest.fixture
def arn(service: Service, training: Make) -> str:
    request = training("Job", Tags=[tag("team", "a"), tag("cost", "1")])
    return str(service.client("sagemaker").create_training_job(**request)["TrainingJobArn"])


def test_tags_are_added_replaced_and_deleted(service: Service, arn: str) -> None:
    sagemaker = service.client("sagemaker")
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [tag("team", "a"), tag("cost", "1")]
    sagemaker.add_tags(ResourceArn=arn, Tags=[tag("team", "b"), tag("new", "")])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [
        tag("team", "b"),
        tag("cost", "1"),
        tag("new", ""),
    ]
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["team", "absent"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [tag("cost", "1"), tag("new", "")]
    assert sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn).build_full_result()["Tags"]


def test_at_most_fifty(service: Service, arn: str, refused: Refused) -> None:
    sagemaker = service.client("sagemaker")
    many = [tag(f"key{number}", "x") for number in range(49)]
    message = refused(sagemaker.add_tags, "ValidationException", ResourceArn=arn, Tags=many)
    assert "at most 50 tags" in message
    sagemaker.add_tags(ResourceArn=arn, Tags=many[:48])
    assert len(sagemaker.list_tags(ResourceArn=arn)["Tags"]) == 50


@pytest.mark.parametrize("resource", ["training-job/other", "model/job", "strange/job"])
def test_tags_of_nothing(service: Service, arn: str, refused: Refused, resource: str) -> None:
    sagemaker = service.client("sagemaker")
    other = f"arn:aws:sagemaker:us-east-1:123456789012:{resource}"
    message = refused(sagemaker.list_tags, "ValidationException", ResourceArn=other)
    assert message.startswith(f'Could not find "{other}"')


def test_tags_go_with_their_resource(service: Service) -> None:
    sagemaker = service.client("sagemaker")
    role = "arn:aws:iam::123456789012:role/byoc-sagemaker"
    for tags in ([tag("a", "b")], []):
        sagemaker.create_model(
            ModelName="m", PrimaryContainer={"Image": "x"}, ExecutionRoleArn=role, Tags=tags
        )
        arn = sagemaker.describe_model(ModelName="m")["ModelArn"]
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags
        sagemaker.delete_model(ModelName="m")
