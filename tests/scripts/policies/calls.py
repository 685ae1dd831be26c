"""Which actions of IAM a request to AWS needs, and on what: AWS's Service Authorization Reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# The service of an action, where it is not called as boto3 calls the service.
_SERVICES = {
    "sagemaker-runtime": "sagemaker",
    "service-quotas": "servicequotas",
    "resourcegroupstaggingapi": "tag",
}
# S3's actions are older than its operations.
_S3 = {
    "HeadBucket": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "HeadObject": "GetObject",
    "DeleteObjects": "DeleteObject",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
}
_KINDS = {
    "TrainingJobName": "training-job",
    "HyperParameterTuningJobName": "hyper-parameter-tuning-job",
    "TransformJobName": "transform-job",
    "EndpointName": "endpoint",
    "EndpointConfigName": "endpoint-config",
    "ModelName": "model",
}
# The first of these that a request has is what it is about; CreateEndpoint is about two.
_ABOUT = tuple(_KINDS)


@dataclass(frozen=True)
class Where:
    account: str = "123456789012"
    region: str = "us-east-1"
    key: str = ""
    """ARN of the key that the project's objects are encrypted with."""

    def arn(self, service: str, rest: str, *, region: bool = True) -> str:
        return f"arn:aws:{service}:{self.region if region else ''}:{self.account}:{rest}"

    def key_arn(self, key: str) -> str:
        """For an alias, some key: a policy names keys, and the alias as a condition on them."""
        return key if key.startswith("arn:") else self.arn("kms", f"key/{key.replace('alias/', '')}")


def needed(service: str, operation: str, request: Mapping[str, Any], where: Where) -> list[tuple[str, str]]:
    """(action, resource) of one request: its own action, and those that its members need beside it."""
    prefix = _SERVICES.get(service, service)
    if prefix == "sts":  # who one is, everybody may ask
        return []
    action = f"{prefix}:{_S3.get(operation, operation) if prefix == 's3' else operation}"
    if operation == "DeleteObjects" and "VersionId" in str(request):
        action = "s3:DeleteObjectVersion"
    resources = list(_resources(prefix, operation, request, where))
    return [(action, resource) for resource in resources] + list(
        _beside(prefix, operation, request, resources, where)
    )


def _resources(prefix: str, operation: str, request: Mapping[str, Any], where: Where) -> Iterator[str]:
    if prefix == "s3":
        bucket = f"arn:aws:s3:::{request['Bucket']}"
        keys = [item["Key"] for item in request.get("Delete", {}).get("Objects", ())]
        keys = [request["Key"]] if "Key" in request else keys
        yield from (f"{bucket}/{key}" for key in keys) if keys else (bucket,)
    elif prefix == "iam" and "RoleName" in request:
        yield where.arn("iam", f"role/{request['RoleName']}", region=False)
    elif prefix == "iam" and "PolicySourceArn" in request:
        yield request["PolicySourceArn"].replace(":sts:", ":iam:")  # as moto has its user
    elif prefix == "ecr" and "resourceArn" in request:
        yield request["resourceArn"]
    elif prefix == "ecr" and operation != "GetAuthorizationToken":
        for name in request.get("repositoryNames") or [request["repositoryName"]]:
            yield where.arn("ecr", f"repository/{name}")
    elif prefix == "logs" and "logGroupName" in request:
        yield where.arn(
            "logs", f"log-group:{request['logGroupName']}:log-stream:{request.get('logStreamName', '')}"
        )
    elif prefix == "kms":
        yield where.key_arn(request["KeyId"])
    elif prefix == "sagemaker" and not (
        operation.startswith("List") and "HyperParameterTuningJobName" not in request
    ):
        about = [name for name in _ABOUT if name in request]
        both = operation in ("CreateEndpoint", "UpdateEndpoint")
        if operation == "CreateEndpointConfig":
            about = ["EndpointConfigName"]
        for name in about if both else about[:1]:
            yield where.arn("sagemaker", f"{_KINDS[name]}/{request[name].lower()}")
        if not about:
            yield request.get("ResourceArn", "*")
    else:
        yield "*"


def _beside(
    prefix: str, operation: str, request: Mapping[str, Any], resources: list[str], where: Where
) -> Iterator[tuple[str, str]]:
    tag = {"sagemaker": "sagemaker:AddTags", "ecr": "ecr:TagResource", "iam": "iam:TagRole"}
    if operation.startswith("Create") and prefix in tag and (request.get("Tags") or request.get("tags")):
        yield tag[prefix], resources[0]
    if prefix == "sagemaker" and operation.startswith("Create"):
        for name in ("RoleArn", "ExecutionRoleArn"):
            yield from (("iam:PassRole", role) for role in members(request, name))
        keys = {*members(request, "VolumeKmsKeyId"), *members(request, "KmsKeyId")}
        for key in sorted(keys):
            yield from ((action, where.key_arn(key)) for action in ("kms:CreateGrant", "kms:DescribeKey"))
    if prefix == "s3" and operation == "GetObject" and where.key:
        yield "kms:Decrypt", where.key
    if prefix == "s3" and "SSEKMSKeyId" in request:
        yield "kms:GenerateDataKey", where.key_arn(request["SSEKMSKeyId"])
    key = request.get("encryptionConfiguration", {}).get("kmsKey")
    if prefix == "ecr" and key:
        yield from (
            (f"kms:{action}", where.key_arn(key)) for action in ("CreateGrant", "DescribeKey", "RetireGrant")
        )


def members(value: Any, name: str) -> Iterator[str]:
    """All texts with that name, at any depth."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == name and isinstance(inner, str):
                yield inner
            else:
                yield from members(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from members(inner, name)
