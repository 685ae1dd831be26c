"""Every action of the user's policy, asked of IAM: SimulatePrincipalPolicy, where that is allowed.

IAM answers for the policies of this user and the permissions boundary; not for what limits the whole
organisation, nor for policies of buckets and keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from scripts.doctor.finding import Finding
from scripts.errors import translate
from scripts.policies.grants import Grant
from scripts.policies.names import Names
from scripts.policies.user import user

if TYPE_CHECKING:
    from scripts.aws import Clients

_MOST = 50  # actions in a request
_TO_SAGEMAKER = {
    "ContextKeyName": "iam:PassedToService",
    "ContextKeyValues": ["sagemaker.amazonaws.com"],
    "ContextKeyType": "string",
}
_FOR_AWS = {
    "ContextKeyName": "kms:GrantIsForAWSResource",
    "ContextKeyValues": ["true"],
    "ContextKeyType": "boolean",
}


def permissions(names: Names, clients: Clients) -> Iterator[Finding]:
    from botocore.exceptions import ClientError

    arn = principal(clients.sts.get_caller_identity()["Arn"])
    if arn.endswith(":root"):
        yield Finding("permissions", "skipped", "the account's root may do everything")
        return
    grants = user(names)
    try:
        refused = set(_refused(clients.iam, arn, names, grants))
    except ClientError as error:
        yield Finding("permissions", "skipped", f"IAM could not be asked ({translate(error) or error})")
        return
    required = _named(refused, [each for each in grants if not each.optional])
    optional = _named(refused, [each for each in grants if each.optional])
    optional = {action: users for action, users in optional.items() if action not in required}
    if required:
        yield Finding(
            "permissions",
            "error",
            f"{arn} may not do {_told(required)}",
            "Ask for the policy that `byoc setup --print user-policy` shows.",
        )
    if optional:
        yield Finding(
            "permissions",
            "warning",
            f"{arn} may not do {_told(optional)}; byoc works without",
            "`byoc setup --print user-policy` shows a policy that has them.",
        )
    if not refused:
        count = len({action for each in grants for action in each.actions})
        yield Finding("permissions", "ok", f"all {count} actions of the user's policy are allowed")


def principal(arn: str) -> str:
    """Whom IAM knows behind an ARN of STS. A role with a path is known to STS without it."""
    assumed = re.fullmatch(r"(arn:[^:]+):sts::(\d+):assumed-role/([^/]+)/.*", arn)
    return f"{assumed[1]}:iam::{assumed[2]}:role/{assumed[3]}" if assumed else arn


def _refused(iam: Any, arn: str, names: Names, grants: Iterable[Grant]) -> Iterator[tuple[str, str]]:
    """(action, resource) of what IAM does not allow; one request for each resource."""
    by_resource: dict[str, set[str]] = {}
    for each in grants:
        for resource in each.resources:
            by_resource.setdefault(resource, set()).update(each.actions)
    for resource, actions in by_resource.items():
        names_of_actions = sorted(actions)
        for start in range(0, len(names_of_actions), _MOST):
            pages = iam.get_paginator("simulate_principal_policy").paginate(
                PolicySourceArn=arn,
                ActionNames=names_of_actions[start : start + _MOST],
                ResourceArns=[example(resource)],
                ContextEntries=[_TO_SAGEMAKER, _FOR_AWS, *_alias(names)],
            )
            for page in pages:
                for result in page["EvaluationResults"]:
                    if result["EvalDecision"] != "allowed":
                        yield result["EvalActionName"], resource


def example(resource: str) -> str:
    """A name that a resource of the policy stands for: IAM takes no pattern of names."""
    return resource if resource == "*" else resource.replace("*", "byoc-example")


def _alias(names: Names) -> list[dict[str, Any]]:
    condition = names.key_condition.get("ForAnyValue:StringEquals", {})
    return [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "stringList"}
        for key, value in condition.items()
    ]


def _named(refused: set[tuple[str, str]], grants: Iterable[Grant]) -> dict[str, set[str]]:
    """Action → commands that need it, of those that are refused."""
    commands: dict[str, set[str]] = {}
    for each in grants:
        for action in each.actions:
            if any((action, resource) in refused for resource in each.resources):
                commands.setdefault(action, set()).update(each.users)
    return commands


def _told(actions: dict[str, set[str]]) -> str:
    return ", ".join(f"{action} ({', '.join(sorted(users))})" for action, users in sorted(actions.items()))
