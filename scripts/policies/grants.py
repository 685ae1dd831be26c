"""One permission and its reason, and the policy document that several of them make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Grant:
    """Actions that are allowed on resources, and who uses them."""

    users: tuple[str, ...]
    """Commands of `byoc`, or parts of SageMaker."""
    actions: tuple[str, ...]
    resources: tuple[str, ...] = ("*",)
    optional: bool = False
    """Whether its users work without it, and warn where that matters."""
    condition: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def grant(
    users: str,
    actions: str,
    *resources: str,
    optional: bool = False,
    condition: Mapping[str, Mapping[str, Any]] | None = None,
) -> Grant:
    """A Grant from words; all resources without any.

    Args:
        users: separated by spaces.
        actions: separated by spaces; those without a service have the first one's.
    """
    names = actions.split()
    service = names[0].partition(":")[0]
    return Grant(
        tuple(users.split()),
        tuple(name if ":" in name else f"{service}:{name}" for name in names),
        resources or ("*",),
        optional,
        condition or {},
    )


def document(grants: Iterable[Grant]) -> dict[str, Any]:
    """The policy: a statement for each set of resources and each condition, always in the same order."""
    statements: dict[tuple[tuple[str, ...], str], dict[str, Any]] = {}
    for each in grants:
        statement = statements.setdefault(
            (each.resources, repr(each.condition)),
            {"Effect": "Allow", "Action": [], "Resource": _one_or_all(each.resources)}
            | (
                {"Condition": {key: dict(value) for key, value in each.condition.items()}}
                if each.condition
                else {}
            ),
        )
        statement["Action"] = sorted({*statement["Action"], *each.actions})
    return {"Version": "2012-10-17", "Statement": list(statements.values())}


def _one_or_all(resources: tuple[str, ...]) -> str | list[str]:
    return resources[0] if len(resources) == 1 else list(resources)
