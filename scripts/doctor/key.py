"""The key exists in this region, is enabled, encrypts, and lets this account's IAM policies speak for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from scripts import account
from scripts.doctor.finding import Finding, not_allowed
from scripts.settings import Settings
from scripts.tags import is_forbidden

if TYPE_CHECKING:
    from scripts.aws import Clients


def key(settings: Settings, clients: Clients) -> Iterator[Finding]:
    from botocore.exceptions import ClientError

    name, kms = settings.aws.kms_key, clients.service("kms")
    try:
        metadata: Any = kms.describe_key(KeyId=name)["KeyMetadata"]
    except ClientError as error:
        if is_forbidden(error):
            yield not_allowed("key", error, name)
            return
        raise
    if problem := unfit(name, metadata, clients.region):
        yield problem
        return
    yield Finding("key", "ok", metadata["Arn"])
    owner = metadata["Arn"].split(":")[4]
    if owner != clients.account:
        yield Finding("key policy", "skipped", f"{name} is of account {owner}: only that one can read it")
        return
    try:
        policy = json.loads(kms.get_key_policy(KeyId=metadata["KeyId"], PolicyName="default")["Policy"])
    except ClientError as error:
        if not is_forbidden(error):
            raise
        yield not_allowed("key policy", error, name)
        return
    yield key_policy(policy, account.role(settings, clients).arn, clients.partition, clients.account)


def unfit(name: str, metadata: Mapping[str, Any], region: str) -> Finding | None:
    """Why a key cannot encrypt what jobs write."""
    if metadata["KeyState"] != "Enabled":
        return Finding(
            "key", "error", f"{name} is {metadata['KeyState']}", "Enable it, or set another aws.kms_key."
        )
    if metadata.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
        return Finding(
            "key",
            "error",
            f"{name} is of kind {metadata['KeySpec']}; S3 and disks take symmetric keys only",
            "Set another aws.kms_key.",
        )
    there = metadata["Arn"].split(":")[3]
    if there != region:
        return Finding(
            "key", "error", f"{name} is in {there}, and the jobs are in {region}", "Set a key of this region."
        )
    return None


def key_policy(policy: Mapping[str, Any], role: str, partition: str, account: str) -> Finding:
    """The key's own policy must let the role use it: by name, or by leaving it to this account's IAM.

    Conditions of statements are not evaluated.
    """
    wanted = {role, account, f"arn:{partition}:iam::{account}:root", "*"}
    for statement in _listed(policy.get("Statement", [])):
        principal = statement.get("Principal", {})
        named = set(_listed(principal.get("AWS", []) if isinstance(principal, Mapping) else principal))
        actions = {action.lower() for action in _listed(statement.get("Action", []))}
        if statement["Effect"] == "Allow" and named & wanted and actions & {"kms:*", "*", "kms:decrypt"}:
            how = "the role" if role in named else "this account's IAM policies"
            return Finding("key policy", "ok", f"it allows {how}")
    return Finding(
        "key policy",
        "error",
        f"the key's own policy names neither {role} nor this account, so no policy of the role counts",
        "Add a statement that allows the role kms:Decrypt, kms:Encrypt, kms:GenerateDataKey, kms:DescribeKey "
        "and kms:CreateGrant.",
    )


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]
