"""What a policy allows: as much of IAM's evaluation as the policies here use."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

from scripts.policies.grants import Grant, document


def allows(policy: dict[str, Any], action: str, resource: str) -> bool:
    """Conditions count as met. An action without a resource of its own needs a statement about `*`."""
    return any(
        statement["Effect"] == "Allow"
        and any(matches(pattern, action) for pattern in listed(statement["Action"]))
        and any(matches(pattern, resource) for pattern in listed(statement["Resource"]))
        for statement in policy["Statement"]
    )


def matches(pattern: str, text: str) -> bool:
    # No [classes] in IAM; only * and ?.
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def not_allowed(grants: Iterable[Grant], needs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    policy = document(grants)
    return sorted({need for need in needs if not allows(policy, *need)})
