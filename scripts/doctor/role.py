"""The role exists, lets SageMaker take it, and has the policy that these settings need by now."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from scripts import account
from scripts.aws import ask
from scripts.doctor.finding import Finding
from scripts.policies.grants import document
from scripts.policies.jobs import jobs
from scripts.policies.names import Names
from scripts.settings import Settings
from scripts.setup.role import policy_name
from scripts.tags import if_allowed

if TYPE_CHECKING:
    from scripts.aws import Clients


def role(settings: Settings, clients: Clients) -> Iterator[Finding]:
    there = _there(settings, clients)
    yield there
    if there.severity == "ok" and (policy := _policy(Names.of(settings, clients), clients)):
        yield policy


def _policy(names: Names, clients: Clients) -> Finding | None:
    """Of a role that `byoc setup` made: settings may have changed since. Nothing is known of others."""
    own = policy_name(names)
    look = partial(clients.iam.get_role_policy, RoleName=names.role, PolicyName=own)
    answer = if_allowed(lambda: ask(look, "NoSuchEntity"))
    if answer is None:
        return None
    if answer["PolicyDocument"] == document(jobs(names)):
        return Finding("role policy", "ok", f"{own} allows what these settings need")
    return Finding(
        "role policy",
        "warning",
        f"{own} is not what these settings need: key, bucket, weights or images have changed since",
        "`byoc setup` shows the difference and mends it.",
    )


def _there(settings: Settings, clients: Clients) -> Finding:
    described = account.role(settings, clients)
    arn = described.arn
    if described.guessed:
        return Finding(
            "role",
            "skipped",
            f"AWS does not allow GetRole: {arn} is what it would be called",
            f'If it has a path, name it in full: aws.role = "{arn.rpartition("/")[0]}/…".',
        )
    if described.trust and "sagemaker.amazonaws.com" not in str(described.trust):
        return Finding(
            "role",
            "error",
            f"{arn} does not let SageMaker take it",
            "Add sagemaker.amazonaws.com to its trust policy, or name another one as aws.role.",
        )
    if described.new:
        return Finding("role", "ok", f"{arn}, minutes old: SageMaker may need one more to know it")
    return Finding("role", "ok", arn)
