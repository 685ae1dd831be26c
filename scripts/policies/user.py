"""What the person needs who uses `byoc`, and what one needs who runs `byoc setup`.

tests/scripts/policies/ records what the commands call, and fails on a call that is not allowed here and on
an action that nothing calls. An operation that a command tries only where AWS refuses another one
(iam:ListRoles, sagemaker:ListTags) is not here: whoever has this policy does not need it.
"""

from __future__ import annotations

from scripts.policies.grants import Grant, grant
from scripts.policies.names import Names

_READ_JOBS = "train tune logs watch report convert deploy transform web"
TO_SAGEMAKER = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


def user(names: Names) -> list[Grant]:
    """For all commands but `setup`, in an account that `byoc setup` has prepared."""
    return [
        *_jobs(names),
        *_endpoints(names),
        *_storage(names),
        *_images(names),
        *_account(names),
        *_clean_up(names),
    ]


def _jobs(names: Names) -> list[Grant]:
    training, tuning, transform = (
        names.sagemaker(kind) for kind in ("training-job", "hyper-parameter-tuning-job", "transform-job")
    )
    return [
        grant("train convert web", "sagemaker:CreateTrainingJob AddTags", *training),
        grant(f"{_READ_JOBS} stop jobs", "sagemaker:DescribeTrainingJob", *training),
        grant("stop web", "sagemaker:StopTrainingJob UpdateTrainingJob", *training),
        grant("tune web", "sagemaker:CreateHyperParameterTuningJob AddTags", *tuning),
        grant(
            "tune train best logs watch report stop jobs web",
            "sagemaker:DescribeHyperParameterTuningJob ListTrainingJobsForHyperParameterTuningJob",
            *tuning,
        ),
        grant("stop web", "sagemaker:StopHyperParameterTuningJob", *tuning),
        grant("transform", "sagemaker:CreateTransformJob AddTags", *transform),
        grant("transform logs watch stop jobs web", "sagemaker:DescribeTransformJob", *transform),
        grant("stop web", "sagemaker:StopTransformJob", *transform),
        grant("jobs best web", "sagemaker:ListHyperParameterTuningJobs"),
        grant("jobs web", "sagemaker:ListTrainingJobs ListTransformJobs ListEndpoints"),
        grant("jobs web", "tag:GetResources", optional=True),
        grant(f"{_READ_JOBS}", "logs:DescribeLogStreams GetLogEvents", *names.logs),
    ]


def _endpoints(names: Names) -> list[Grant]:
    model, config, endpoint = (names.sagemaker(kind) for kind in ("model", "endpoint-config", "endpoint"))
    return [
        grant("deploy transform web", "sagemaker:CreateModel AddTags", *model),
        grant("deploy transform delete evaluate web", "sagemaker:DescribeModel", *model),
        grant("deploy transform delete web", "sagemaker:DeleteModel", *model),
        grant("deploy web", "sagemaker:CreateEndpointConfig AddTags", *config),
        grant("deploy delete evaluate jobs web", "sagemaker:DescribeEndpointConfig", *config),
        grant("deploy delete web", "sagemaker:DeleteEndpointConfig", *config),
        grant("deploy delete web", "sagemaker:ListEndpointConfigs"),
        grant("deploy web", "sagemaker:CreateEndpoint UpdateEndpoint", *endpoint, *config),
        grant("deploy web", "sagemaker:AddTags", *endpoint),
        grant("deploy delete evaluate jobs web", "sagemaker:DescribeEndpoint", *endpoint),
        grant("deploy delete web", "sagemaker:DeleteEndpoint", *endpoint),
        grant("delete", "sagemaker:ListEndpoints"),
        grant("delete", "tag:GetResources", optional=True),
        grant("predict evaluate web", "sagemaker:InvokeEndpoint", *endpoint),
    ]


def _storage(names: Names) -> list[Grant]:
    grants = [
        grant(f"upload evaluate doctor {_READ_JOBS}", "s3:ListBucket", names.bucket_arn),
        grant(f"upload evaluate {_READ_JOBS}", "s3:GetObject", *names.objects()),
        grant("upload transform", "s3:PutObject", *names.objects()),
        grant("upload", "s3:DeleteObject", *names.objects("data")),
        grant(
            "doctor",
            "s3:GetBucketPublicAccessBlock GetEncryptionConfiguration GetBucketPolicy "
            "GetLifecycleConfiguration GetBucketTagging",
            names.bucket_arn,
            optional=True,
        ),
    ]
    if names.weights:
        bucket, _ = names.weights
        grants.append(grant("train tune doctor web", "s3:ListBucket", bucket))
    if names.settings.aws.kms_key:
        to_aws = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
        grants += [
            grant(
                f"upload evaluate doctor {_READ_JOBS}",
                "kms:Decrypt DescribeKey GenerateDataKey",
                names.key,
                condition=names.key_condition,
            ),
            grant("train tune deploy transform web", "kms:CreateGrant", names.key,
                  condition={**names.key_condition, **to_aws}),
            grant("doctor", "kms:GetKeyPolicy", names.key, condition=names.key_condition, optional=True),
        ]  # fmt: skip
    return grants


def _images(names: Names) -> list[Grant]:
    """An engine that pushes uses the actions that ECR's page "IAM permissions for pushing an image" lists."""
    repositories = names.repository_arns
    if not repositories:
        return []
    return [
        grant("push", "ecr:GetAuthorizationToken"),
        grant(
            "push",
            "ecr:BatchCheckLayerAvailability InitiateLayerUpload UploadLayerPart CompleteLayerUpload "
            "PutImage BatchGetImage DescribeRepositories",
            *repositories,
        ),
        grant("push", "ecr:DescribeImages", *repositories),
        grant(
            "train tune convert deploy transform doctor web",
            "ecr:DescribeImages",
            *names.image_arns,
            optional=True,
        ),
        grant("doctor", "ecr:BatchGetImage GetDownloadUrlForLayer", *repositories, optional=True),
    ]


def _account(names: Names) -> list[Grant]:
    grants = [
        grant(
            "train tune convert deploy transform web",
            "iam:PassRole",
            names.role_arn,
            condition=TO_SAGEMAKER,
        ),
        grant("train tune convert deploy transform doctor web", "iam:GetRole", names.role_arn, optional=True),
        grant("doctor", "iam:GetRolePolicy", names.role_arn, optional=True),
        grant(
            "doctor",
            "iam:SimulatePrincipalPolicy",
            f"arn:{names.partition}:iam::{names.account}:user/*",
            f"arn:{names.partition}:iam::{names.account}:role/*",
            optional=True,
        ),
        grant("doctor", "servicequotas:ListServiceQuotas ListAWSDefaultServiceQuotas", optional=True),
        grant("train tune deploy transform web", "pricing:GetProducts", optional=True),
    ]
    if names.settings.aws.subnets:
        grants.append(
            grant(
                "doctor",
                "ec2:DescribeSubnets DescribeSecurityGroups DescribeVpcEndpoints DescribeRouteTables",
                optional=True,
            )
        )
    return grants


def _clean_up(names: Names) -> list[Grant]:
    """`byoc delete --all`: what AWS does not allow is named, and stays."""
    training, tuning, transform = (
        names.sagemaker(kind) for kind in ("training-job", "hyper-parameter-tuning-job", "transform-job")
    )
    grants = [
        grant(
            "delete",
            "sagemaker:ListTrainingJobs ListHyperParameterTuningJobs ListTransformJobs ListModels",
            optional=True,
        ),
        grant(
            "delete",
            "sagemaker:DescribeTrainingJob StopTrainingJob UpdateTrainingJob DeleteTrainingJob",
            *training,
            optional=True,
        ),
        grant(
            "delete",
            "sagemaker:DescribeHyperParameterTuningJob StopHyperParameterTuningJob "
            "ListTrainingJobsForHyperParameterTuningJob DeleteHyperParameterTuningJob",
            *tuning,
            optional=True,
        ),
        grant("delete", "sagemaker:DescribeTransformJob StopTransformJob", *transform, optional=True),
        grant(
            "delete",
            "s3:ListBucket ListBucketVersions ListBucketMultipartUploads",
            names.bucket_arn,
            optional=True,
        ),
        grant(
            "delete",
            "s3:DeleteObject DeleteObjectVersion AbortMultipartUpload",
            *names.objects(),
            optional=True,
        ),
        grant("delete", "logs:DescribeLogStreams DeleteLogStream", *names.logs, optional=True),
        grant("delete", "logs:DeleteLogGroup", *names.endpoint_logs, optional=True),
        grant("delete", "logs:DescribeLogGroups", optional=True),
        grant("delete jobs", "pricing:GetProducts", optional=True),
    ]
    if names.own_arns:
        grants.append(
            grant(
                "delete",
                "ecr:DescribeRepositories DescribeImages ListTagsForResource DeleteRepository",
                *names.own_arns,
                optional=True,
            )
        )
    return grants


def administrator(names: Names) -> list[Grant]:
    """For `byoc setup` and `byoc setup --remove`; and where `upload` and `push` find nothing prepared."""
    bucket, role, repositories = names.bucket_arn, names.role_arn, names.repository_arns
    grants = [
        grant(
            "setup",
            "iam:GetRole CreateRole TagRole UpdateAssumeRolePolicy GetRolePolicy PutRolePolicy "
            "ListRolePolicies ListAttachedRolePolicies DeleteRolePolicy DeleteRole",
            role,
        ),
        grant(
            "setup",
            "s3:ListBucket CreateBucket GetBucketTagging PutBucketTagging GetBucketPublicAccessBlock "
            "PutBucketPublicAccessBlock GetEncryptionConfiguration PutEncryptionConfiguration "
            "GetBucketPolicy PutBucketPolicy GetLifecycleConfiguration PutLifecycleConfiguration "
            "DeleteBucket",
            bucket,
        ),
        grant("upload transform", "s3:CreateBucket", bucket),
        grant("upload transform", "s3:PutBucketTagging", bucket, optional=True),
    ]
    if repositories:
        grants += [
            grant(
                "setup",
                "ecr:DescribeRepositories CreateRepository TagResource ListTagsForResource "
                "GetLifecyclePolicy PutLifecyclePolicy PutImageScanningConfiguration "
                "PutImageTagMutability ListImages DeleteRepository",
                *repositories,
            ),
            grant("push", "ecr:CreateRepository", *repositories),
            grant(
                "push",
                "ecr:TagResource PutLifecyclePolicy PutImageScanningConfiguration",
                *repositories,
                optional=True,
            ),
        ]
    if names.settings.aws.kms_key:
        grants.append(
            grant(
                "setup push",
                "kms:DescribeKey CreateGrant RetireGrant",
                names.key,
                condition=names.key_condition,
            )
        )
    return grants
