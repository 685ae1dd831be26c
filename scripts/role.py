"""The IAM role that jobs run under: made with what they need, and no more than AWS's own policy has."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from contract import s3
from contract.errors import ByocError
from scripts import patience
from scripts.requests import tags
from scripts.settings import Settings
from scripts.tags import PROJECT, is_forbidden

if TYPE_CHECKING:
    from scripts.aws import Clients

TRUST_POLICY: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
MANAGED_POLICY = "AmazonSageMakerFullAccess"
OWN_POLICY = "byoc-{project}"  # projects may share a role


def create(settings: Settings, clients: Clients) -> str:
    """Create the role with AWS's managed policy for SageMaker, unless it exists; returns its ARN.

    One that was made here before gets what the settings need by now, and their tags.
    """
    from botocore.exceptions import ClientError

    name, iam = settings.aws.role, clients.iam
    if "/" in name:
        raise ByocError(
            f"aws.role is no plain name ({name}), so it is not created here.", "Set a name instead."
        )
    try:
        role: Any = iam.get_role(RoleName=name)["Role"]
        has = role.get("Tags", ())
        if any(tag["Key"] == PROJECT for tag in has):
            _put_policy(settings, clients, name)
            if missing := [tag for tag in tags(settings) if tag not in has and tag["Key"] != PROJECT]:
                iam.tag_role(RoleName=name, Tags=missing)
        return str(role["Arn"])
    except iam.exceptions.NoSuchEntityException:
        pass
    except ClientError as error:
        if not is_forbidden(error):
            raise
    boundary: Any = {"PermissionsBoundary": limit} if (limit := settings.aws.permissions_boundary) else {}
    made: list[Any] = []

    def find() -> Any:
        with contextlib.suppress(iam.exceptions.NoSuchEntityException):
            made[:] = [iam.get_role(RoleName=name)]
        return made[0] if made else None

    def send() -> None:
        made[:] = [
            iam.create_role(
                RoleName=name,
                AssumeRolePolicyDocument=json.dumps(TRUST_POLICY),
                Description="Lets SageMaker run the jobs of byoc.",
                Tags=tags(settings),
                **boundary,
            )
        ]

    patience.create(send, find)  # one whose answer is lost would stay without its policies
    managed = f"arn:{clients.partition}:iam::aws:policy/{MANAGED_POLICY}"
    undo: list[Any] = [lambda: iam.delete_role(RoleName=name)]
    try:
        iam.attach_role_policy(RoleName=name, PolicyArn=managed)
        undo.insert(0, lambda: iam.detach_role_policy(RoleName=name, PolicyArn=managed))
        _put_policy(settings, clients, name)
    except BaseException:
        for step in undo:
            step()
        raise
    return str(made[0]["Role"]["Arn"])


def _put_policy(settings: Settings, clients: Clients, name: str) -> None:
    if found := statements(settings, clients.partition, clients.region, clients.account):
        document = json.dumps({"Version": "2012-10-17", "Statement": found})
        own = OWN_POLICY.format(project=settings.project.name)
        clients.iam.put_role_policy(RoleName=name, PolicyName=own, PolicyDocument=document)


def statements(settings: Settings, partition: str, region: str, account: str) -> list[dict[str, Any]]:
    """What the managed policy lacks: buckets without `sagemaker` in their names, and a key of one's own."""
    allowed: list[dict[str, Any]] = []
    weights = settings.data.weights
    source = s3.split(weights)[0] if weights.startswith("s3://") else ""
    for bucket, writes in ((settings.aws.bucket, True), (source, False)):
        if bucket and "sagemaker" not in bucket and not (not writes and bucket == settings.aws.bucket):
            objects = ["s3:GetObject"]
            if writes:
                objects += ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
            arn = f"arn:{partition}:s3:::{bucket}"
            allowed += [
                {"Effect": "Allow", "Action": objects, "Resource": f"{arn}/*"},
                {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": arn},
            ]
    if key := settings.aws.kms_key:
        allowed += _key_statements(key, f"arn:{partition}:kms:{region}:{account}")
    return allowed


def _key_statements(key: str, here: str) -> list[dict[str, Any]]:
    use = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    beginning, alias, name = key.rpartition("alias/")
    condition: dict[str, Any] = {}
    if alias:  # a policy names keys; an alias is a condition on them
        resource = f"{beginning or here + ':'}key/*"
        condition = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias + name}}
    else:
        resource = key if key.startswith("arn:") else f"{here}:key/{key}"
    grant = {**condition, "Bool": {"kms:GrantIsForAWSResource": "true"}}  # disks are encrypted by EC2
    return [
        {"Effect": "Allow", "Action": use, "Resource": resource}
        | ({"Condition": condition} if condition else {}),
        {"Effect": "Allow", "Action": "kms:CreateGrant", "Resource": resource, "Condition": grant},
    ]
