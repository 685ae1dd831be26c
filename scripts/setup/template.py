"""The same as a CloudFormation template, for those whose accounts are changed in no other way.

Written without asking AWS anything: region and account are AWS's pseudo parameters, and CloudFormation puts
in those of the stack.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scripts.policies.grants import document
from scripts.policies.jobs import TRUST, jobs
from scripts.policies.names import Names
from scripts.policies.user import user
from scripts.registry import LIFECYCLE, repository_request
from scripts.requests import tags
from scripts.setup import bucket, role

if TYPE_CHECKING:
    from scripts.settings import Settings

Resource = dict[str, Any]
_LOGICAL = {"train": "TrainRepository", "serve": "ServeRepository", "serve_cpu": "ServeCpuRepository"}


def template(settings: Settings) -> dict[str, Any]:
    """The template, for json.dumps. Bucket and repositories outlive the stack: they hold the results."""
    names = Names(settings, "${AWS::Partition}", "${AWS::Region}", "${AWS::AccountId}")
    resources: dict[str, Resource] = {}
    if not settings.aws.bucket_owner:  # else it is another account's
        resources |= {"Bucket": _bucket(names), "BucketPolicy": _bucket_policy(names)}
    made: dict[str, str] = {}  # repository → logical name: two images may share one
    for which, repository in names.repositories.items():
        if repository not in made:
            made[repository] = _LOGICAL[which]
            resources[_LOGICAL[which]] = _repository(names, repository)
    if "/" not in settings.aws.role:
        resources["Role"] = _role(names)
    resources["UserPolicy"] = _user_policy(names)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"What byoc needs for the project {settings.project.name}",
        "Resources": resources,
        "Outputs": {
            "UserPolicy": {"Value": {"Ref": "UserPolicy"}, "Description": "Attach it to who uses byoc"},
        },
    }


def _bucket(names: Names) -> Resource:
    [rule] = bucket.encryption(names)["Rules"]
    encrypted = {
        "ServerSideEncryptionByDefault": rule["ApplyServerSideEncryptionByDefault"],
        **{key: value for key, value in rule.items() if key == "BucketKeyEnabled"},
    }
    rules = [
        {("Id" if key == "ID" else key): value for key, value in each.items() if key != "Filter"}
        for each in bucket.lifecycle()
    ]
    return {
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "BucketName": _filled(names.bucket),
            "PublicAccessBlockConfiguration": dict(bucket.PUBLIC_ACCESS),
            "BucketEncryption": {"ServerSideEncryptionConfiguration": [encrypted]},
            "LifecycleConfiguration": {"Rules": rules},
            "Tags": tags(names.settings),
        },
    }


def _bucket_policy(names: Names) -> Resource:
    policy = {"Version": "2012-10-17", "Statement": [bucket.tls(names)]}
    return {
        "Type": "AWS::S3::BucketPolicy",
        "Properties": {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": _filled(policy)},
    }


def _repository(names: Names, repository: str) -> Resource:
    request = repository_request(repository, names.settings)
    encrypted = request["encryptionConfiguration"]
    return {
        "Type": "AWS::ECR::Repository",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "RepositoryName": repository,
            "ImageScanningConfiguration": {"ScanOnPush": request["imageScanningConfiguration"]["scanOnPush"]},
            "ImageTagMutability": request["imageTagMutability"],
            "ImageTagMutabilityExclusionFilters": [
                {
                    "ImageTagMutabilityExclusionFilterType": each["filterType"],
                    "ImageTagMutabilityExclusionFilterValue": each["filter"],
                }
                for each in request["imageTagMutabilityExclusionFilters"]
            ],
            "EncryptionConfiguration": {key[0].upper() + key[1:]: value for key, value in encrypted.items()},
            "LifecyclePolicy": {"LifecyclePolicyText": json.dumps(LIFECYCLE)},
            "Tags": request["tags"],
        },
    }


def _role(names: Names) -> Resource:
    boundary = names.settings.aws.permissions_boundary
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": names.role,
            "Description": "Lets SageMaker run the jobs of byoc.",
            "AssumeRolePolicyDocument": dict(TRUST),
            "Policies": [
                {"PolicyName": role.policy_name(names), "PolicyDocument": _filled(document(jobs(names)))}
            ],
            "Tags": tags(names.settings),
            **({"PermissionsBoundary": boundary} if boundary else {}),
        },
    }


def _user_policy(names: Names) -> Resource:
    return {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {
            "ManagedPolicyName": f"byoc-{names.settings.project.name}-user",
            "Description": "For people and pipelines that use byoc.",
            "PolicyDocument": _filled(document(user(names))),
        },
    }


def _filled(value: Any) -> Any:
    """Texts with a pseudo parameter become what CloudFormation fills in."""
    if isinstance(value, dict):
        return {key: _filled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each) for each in value]
    if isinstance(value, str) and "${AWS::" in value:
        return {"Fn::Sub": value}
    return value
