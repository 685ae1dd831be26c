"""The IAM role that jobs run under: made with what they need, and no more. Projects may share one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.aws import ask
from scripts.policies.grants import document
from scripts.policies.jobs import TRUST, jobs
from scripts.policies.names import Names
from scripts.requests import tags
from scripts.setup import plan
from scripts.setup.plan import Call, Step
from scripts.tags import PROJECT

if TYPE_CHECKING:
    from scripts.aws import Clients

_FULL_ACCESS = "AmazonSageMakerFullAccess"


@dataclass(frozen=True)
class State:
    """What a role is like."""

    tags: Sequence[Mapping[str, Any]] = ()
    trust: Mapping[str, Any] | None = None
    policy: Mapping[str, Any] | None = None
    """The inline policy of this project."""
    attached: Sequence[str] = ()
    """Names of managed policies."""


def policy_name(names: Names) -> str:
    """Each project has an inline policy of its own in a role that several share."""
    return f"byoc-{names.settings.project.name}"


def creation(names: Names) -> list[Call]:
    """CreateRole and PutRolePolicy."""
    limit = names.settings.aws.permissions_boundary
    request = {
        "RoleName": names.role,
        "AssumeRolePolicyDocument": json.dumps(TRUST),
        "Description": "Lets SageMaker run the jobs of byoc.",
        "Tags": tags(names.settings),
        **({"PermissionsBoundary": limit} if limit else {}),
    }
    says = "is created; SageMaker may take it" + (f"; bounded by {limit}" if limit else "")
    return [Call(says, "iam", "create_role", request), *_policy(names, None)]


def changes(names: Names, state: State, *, owned: bool) -> list[Call]:
    """The requests that give an existing role of `byoc` what this project needs.

    Args:
        owned: it was made for this project. What belongs to the role as a whole stays otherwise.
    """
    calls = []
    if owned and not plan.within(TRUST["Statement"], (state.trust or {}).get("Statement", [])):
        request = {"RoleName": names.role, "PolicyDocument": json.dumps(TRUST)}
        calls.append(Call("lets SageMaker take it", "iam", "update_assume_role_policy", request))
    missing = [tag for tag in tags(names.settings) if tag not in state.tags and tag["Key"] != PROJECT]
    if owned and missing:
        calls.append(
            Call("gets the tags of byoc.toml", "iam", "tag_role", {"RoleName": names.role, "Tags": missing})
        )
    return [*calls, *_policy(names, state.policy)]


def _policy(names: Names, there: Mapping[str, Any] | None) -> list[Call]:
    wanted = document(jobs(names))
    if wanted == there:
        return []
    actions = {action for statement in wanted["Statement"] for action in statement["Action"]}
    request = {
        "RoleName": names.role,
        "PolicyName": policy_name(names),
        "PolicyDocument": json.dumps(wanted),
    }
    says = f"is allowed {len(actions)} actions on what this project has (policy {policy_name(names)})"
    return [Call(says, "iam", "put_role_policy", request)]


def look(iam: Any, names: Names) -> State | None:
    """What the role is like; None where there is none."""
    role = ask(lambda: iam.get_role(RoleName=names.role), "NoSuchEntity")
    if role is None:
        return None
    policy = ask(
        lambda: iam.get_role_policy(RoleName=names.role, PolicyName=policy_name(names)), "NoSuchEntity"
    )
    pages = iam.get_paginator("list_attached_role_policies").paginate(RoleName=names.role)
    return State(
        tags=role["Role"].get("Tags", ()),
        trust=role["Role"].get("AssumeRolePolicyDocument"),
        policy=policy["PolicyDocument"] if policy else None,
        attached=[each["PolicyName"] for page in pages for each in page["AttachedPolicies"]],
    )


def planned(names: Names, clients: Clients) -> Step:
    """What `byoc setup` does to the role."""
    what = f"role {names.role}"
    needs = "it needs the policy that `byoc setup --print role-policy` shows"
    if "/" in names.settings.aws.role:
        note = f"aws.role is no plain name ({names.settings.aws.role}), so it is not made here; {needs}"
        return Step(what, "foreign", notes=(note,))
    state = look(clients.iam, names)
    if state is None:
        return Step(what, "missing", tuple(creation(names)))
    owner = plan.project_of(state.tags)
    if not owner:
        return Step(what, "foreign", notes=(f"{plan.not_ours('role')}; {needs}",))
    notes = []
    if owner != names.settings.project.name:
        notes.append(f"shared with the project {owner}, for which it was made")
    if _FULL_ACCESS in state.attached:
        notes.append(
            f"{_FULL_ACCESS} is attached, as earlier versions did; no job of this project needs it. Once no "
            f"other project does: aws iam detach-role-policy --role-name {names.role} --policy-arn "
            f"arn:{names.partition}:iam::aws:policy/{_FULL_ACCESS}"
        )
    return plan.step(what, changes(names, state, owned=owner == names.settings.project.name), notes)
