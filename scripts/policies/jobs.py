"""What SageMaker needs to run the project's jobs and endpoints: the role's own policy, and who may take it.

The actions are those of AWS's page "How to use SageMaker AI execution roles" for CreateTrainingJob,
CreateHyperParameterTuningJob, CreateModel and CreateTransformJob, each on what the requests name
(scripts/requests.py); and s3:DeleteObject for checkpoints, whose folder follows what the trainer deletes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contract import s3
from scripts.policies.grants import Grant, grant
from scripts.policies.names import Names

_PREFIXES = "BYOC_S3_PREFIXES"  # serve/settings.py: what requests to the endpoint may name


# Without a condition on aws:SourceAccount: a role cannot be passed from another account, and AWS documents
# the key for training jobs only.
TRUST: Mapping[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


def jobs(names: Names) -> list[Grant]:
    """The role's policy for this project."""
    settings = names.settings
    reads, writes = names.objects(), names.objects("output", "checkpoints", "transform")
    grants = [
        grant("logs", "logs:CreateLogGroup CreateLogStream PutLogEvents DescribeLogStreams", *names.logs),
        grant("metrics", "cloudwatch:PutMetricData"),
        grant("images", "ecr:GetAuthorizationToken"),
        grant("data", "s3:ListBucket", names.bucket_arn),
        grant("data", "s3:GetObject", *reads),
        grant("results", "s3:PutObject", *writes),
        grant("checkpoints", "s3:DeleteObject", *names.objects("checkpoints")),
    ]
    if images := names.image_arns:
        pull = "ecr:BatchCheckLayerAvailability GetDownloadUrlForLayer BatchGetImage"
        if settings.debugger.service == "sagemaker":
            rules = f"arn:{names.partition}:ecr:{names.region}:*:repository/sagemaker-debugger-rules"
            images = (*images, rules)
        grants.append(grant("images", pull, *images))
    if names.weights:
        bucket, objects = names.weights
        grants += [grant("data", "s3:ListBucket", bucket), grant("data", "s3:GetObject", objects)]
    grants += _pictures_of_requests(names)
    if settings.aws.subnets:
        grants.append(
            grant(
                "network",
                "ec2:CreateNetworkInterface CreateNetworkInterfacePermission DeleteNetworkInterface "
                "DeleteNetworkInterfacePermission DescribeNetworkInterfaces DescribeVpcs DescribeDhcpOptions "
                "DescribeSubnets DescribeSecurityGroups",
            )
        )
    if settings.aws.kms_key:
        # Disks are encrypted by EC2, which SageMaker grants the use of the key.
        to_aws = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
        grants += [
            grant(
                "key", "kms:Decrypt DescribeKey Encrypt GenerateDataKey", names.key,
                condition=names.key_condition,
            ),
            grant("key", "kms:CreateGrant", names.key, condition={**names.key_condition, **to_aws}),
        ]  # fmt: skip
    return grants


def _pictures_of_requests(names: Names) -> list[Grant]:
    """What the serving container reads from S3 because requests name it."""
    prefixes = names.settings.deploy.environment.get(_PREFIXES, "")
    arns = []
    for prefix in prefixes.split(","):
        if prefix.strip().startswith("s3://"):
            bucket, key = s3.split(prefix.strip())
            arns.append(f"arn:{names.partition}:s3:::{bucket}/{key}*")
    return [grant("requests", "s3:GetObject", *arns)] if arns else []
