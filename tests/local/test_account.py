"""What an account knows beside SageMaker, and what is not there at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

Service = Any  # conftest.Service
Refused = Callable[..., str]


def test_quotas_are_there_for_every_machine(service: Service) -> None:
    pages = service.client("service-quotas").get_paginator("list_service_quotas")
    found = {
        quota["QuotaName"]: quota["Value"]
        for page in pages.paginate(ServiceCode="sagemaker")
        for quota in page["Quotas"]
    }
    for use in ("training job", "spot training job", "training warm pool", "endpoint", "transform job"):
        assert found[f"ml.g5.xlarge for {use} usage"] >= 1
    assert service.client("service-quotas").list_service_quotas(ServiceCode="ec2")["Quotas"] == []


def test_nothing_costs_anything_here(service: Service) -> None:
    filters = [{"Type": "TERM_MATCH", "Field": "instanceName", "Value": "ml.g5.xlarge"}]
    found = service.client("pricing").get_products(ServiceCode="AmazonSageMaker", Filters=filters)
    [term] = json.loads(found["PriceList"][0])["terms"]["OnDemand"].values()
    assert [float(each["pricePerUnit"]["USD"]) for each in term["priceDimensions"].values()] == [0]


def test_what_carries_a_tag(service: Service, training: Callable[..., Any]) -> None:
    tag = {"Key": "byoc:project", "Value": "digits"}
    for number in range(3):
        service.sagemaker.create_training_job(**training(f"Job-{number}", Tags=[tag]))
    service.sagemaker.create_training_job(**training("other", Tags=[{**tag, "Value": "flowers"}]))
    tagging = service.client("resourcegroupstaggingapi")
    pages = tagging.get_paginator("get_resources")

    def found(**asked: Any) -> list[str]:
        listed = pages.paginate(**asked)
        return [item["ResourceARN"] for page in listed for item in page["ResourceTagMappingList"]]

    wanted = {"Key": "byoc:project", "Values": ["digits"]}
    arns = [service.config.arn("training-job", f"job-{number}") for number in range(3)]
    assert found(TagFilters=[wanted], ResourcesPerPage=2) == arns
    assert found(TagFilters=[wanted], ResourceTypeFilters=["sagemaker:training-job"]) == arns
    assert found(TagFilters=[wanted], ResourceTypeFilters=["sagemaker:endpoint"]) == []
    assert len(found(TagFilters=[{"Key": "byoc:project"}], ResourceTypeFilters=["sagemaker"])) == 4


def test_the_user_may_do_everything(service: Service) -> None:
    answer = service.client("iam").simulate_principal_policy(
        PolicySourceArn="arn:aws:iam::123456789012:user/me",
        ActionNames=["sagemaker:CreateTrainingJob", "s3:PutObject"],
    )
    decisions = {each["EvalActionName"]: each["EvalDecision"] for each in answer["EvaluationResults"]}
    assert decisions == {"sagemaker:CreateTrainingJob": "allowed", "s3:PutObject": "allowed"}


def test_keys_and_subnets_are_motos(service: Service, refused: Refused) -> None:
    kms, ec2 = service.client("kms"), service.client("ec2")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
    refused(kms.describe_key, "NotFoundException", KeyId="alias/none")
    assert ec2.describe_subnets()["Subnets"]
    refused(ec2.describe_subnets, "InvalidSubnetID.NotFound", SubnetIds=["subnet-0a"])


def test_a_profile_of_the_users_that_is_wrong_concerns_nobody(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/no/such/file")  # and put back afterwards
    ecr = service.client("ecr")
    monkeypatch.setenv("AWS_PROFILE", "gone")
    assert ecr.describe_repositories()["repositories"] == []


def test_a_fault_of_motos_is_no_passing_one(
    service: Service, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise KeyError("x")

    monkeypatch.setattr(service.server.app.fakes, "_send", fail)
    said = refused(service.client("sts").get_caller_identity, "InternalFailure")
    assert "failed in GetCallerIdentity of sts (KeyError); its own log" in said


@pytest.mark.parametrize(
    ("name", "operation", "request_"),
    [
        ("iam", "get_service_last_accessed_details", {"JobId": "0" * 36}),
        ("ecr", "get_account_setting", {"name": "x"}),
        ("kms", "connect_custom_key_store", {"CustomKeyStoreId": "x"}),
        ("ec2", "describe_ipam_pools", {}),
        ("sts", "get_session_token", None),
        ("service-quotas", "get_association_for_service_quota_template", {}),
        ("resourcegroupstaggingapi", "get_tag_keys", {}),
        ("pricing", "describe_services", {}),
        ("sagemaker", "list_domains", {}),
        ("cloudwatch", "describe_alarms", {}),
        ("cloudformation", "list_stacks", {}),
        ("dynamodb", "list_tables", {}),
        ("lambda", "list_functions", {}),
        ("route53", "list_hosted_zones", {}),
        ("cloudfront", "list_distributions", {}),
        ("sns", "list_topics", {}),
        ("sagemaker-metrics", "batch_get_metrics", {"MetricQueries": []}),
    ],
)
def test_what_is_not_there_is_refused_at_once_in_the_services_own_protocol(
    service: Service, name: str, operation: str, request_: dict[str, Any] | None
) -> None:
    client = service.client(name, parameter_validation=False)
    if request_ is None:
        assert getattr(client, operation)()  # moto has it
        return
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**request_)
    answer = caught.value.response
    assert 400 <= answer["ResponseMetadata"]["HTTPStatusCode"] < 500
    assert "local SageMaker" in answer["Error"]["Message"]
    assert answer["Error"]["Code"] in {"InvalidAction", "UnknownOperationException"}


@pytest.mark.parametrize("name", ["sts", "ec2", "logs", "sagemaker", "lambda", "route53"])
def test_what_is_too_large_is_refused_in_the_services_own_protocol(service: Service, name: str) -> None:
    operations: dict[str, tuple[str, dict[str, Any]]] = {
        "sts": ("get_caller_identity", {}),
        "ec2": ("describe_subnets", {}),
        "logs": ("describe_log_groups", {}),
        "sagemaker": ("list_models", {}),
        "lambda": ("list_functions", {}),
        "route53": ("list_hosted_zones", {}),
    }
    client = service.client(name)

    def swell(request: Any, **_: Any) -> None:
        request.data, request.headers["content-length"] = b"x" * (5 << 20), str(5 << 20)

    client.meta.events.register("before-sign.*", swell)
    operation, request = operations[name]
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**request)
    assert caught.value.response["Error"]["Code"] == "RequestEntityTooLargeException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_a_protocol_without_a_target_is_no_fault_of_the_service(service: Service) -> None:
    scope = "Credential=any/20260101/us-east-1/servicequotas/aws4_request"
    headers = {"authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=none"}
    answer = httpx.post(f"{service.url}/service/ServiceQuotas/operation/ListServiceQuotas", headers=headers)
    assert answer.status_code == 400


def test_tags_of_a_bucket(service: Service, refused: Refused) -> None:
    s3 = service.client("s3", s3={"addressing_style": "path"})
    s3.create_bucket(Bucket="pictures")
    refused(s3.get_bucket_tagging, "NoSuchTagSet", Bucket="pictures")
    tags = [{"Key": "byoc:project", "Value": "digits"}]
    s3.put_bucket_tagging(Bucket="pictures", Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket="pictures")["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket="pictures")
    refused(s3.get_bucket_tagging, "NoSuchTagSet", Bucket="pictures")
    refused(s3.put_bucket_tagging, "NoSuchBucket", Bucket="none", Tagging={"TagSet": tags})
    s3.put_bucket_tagging(Bucket="pictures", Tagging={"TagSet": tags})
    s3.delete_bucket(Bucket="pictures")
    s3.create_bucket(Bucket="pictures")
    refused(s3.get_bucket_tagging, "NoSuchTagSet", Bucket="pictures")


def test_a_bucket_belongs_to_this_account(service: Service, refused: Refused) -> None:
    s3 = service.client("s3", s3={"addressing_style": "path"})
    s3.create_bucket(Bucket="pictures")
    own = {"Bucket": "pictures", "ExpectedBucketOwner": service.config.account}
    s3.put_object(**own, Key="a", Body=b"x")
    assert s3.list_objects_v2(**own)["KeyCount"] == 1
    other = {"Bucket": "pictures", "ExpectedBucketOwner": "111122223333"}
    refused(s3.put_object, "AccessDenied", **other, Key="b", Body=b"x")
    refused(s3.list_objects_v2, "AccessDenied", **other)
    with pytest.raises(ClientError, match="403"):
        s3.head_bucket(**other)
