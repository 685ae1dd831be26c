"""The role exists and lets SageMaker take it. Whether it has its policy, `byoc setup` sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts import account
from scripts.doctor.finding import Finding
from scripts.settings import Settings

if TYPE_CHECKING:
    from scripts.aws import Clients


def role(settings: Settings, clients: Clients) -> Finding:
    found = account.role(settings, clients)
    arn = found.arn
    if found.guessed:
        return Finding(
            "role",
            "skipped",
            f"AWS does not allow GetRole: {arn} is what it would be called",
            f'If it has a path, name it in full: aws.role = "{arn.rpartition("/")[0]}/…".',
        )
    if found.trust and "sagemaker.amazonaws.com" not in str(found.trust):
        return Finding(
            "role",
            "error",
            f"{arn} does not let SageMaker take it",
            "Add sagemaker.amazonaws.com to its trust policy, or name another one as aws.role.",
        )
    if found.new:
        return Finding("role", "ok", f"{arn}, minutes old: SageMaker may need one more to know it")
    return Finding("role", "ok", arn)
