"""What a check says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scripts.errors import translate

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

    from contract.errors import ByocError

Severity = Literal["ok", "warning", "error", "skipped"]


@dataclass(frozen=True)
class Finding:
    """What one check found. An error stops jobs; a warning may; skipped could not be looked at."""

    check: str
    severity: Severity
    message: str
    remedy: str = ""


def guarded(name: str, check: Callable[[], Finding | Iterable[Finding]]) -> list[Finding]:
    """The findings of a check; what AWS, botocore or the system refuse is one, too."""
    try:
        findings = check()
        return [findings] if isinstance(findings, Finding) else list(findings)
    except Exception as error:
        readable = translate(error)
        if readable is None:
            raise
        return [failed(name, readable)]


def failed(check: str, error: ByocError) -> Finding:
    """What keeps jobs from running, as any command would say it."""
    return Finding(check, "error", error.message, error.remedy)


def not_allowed(check: str, error: ClientError, what: str = "") -> Finding:
    """AWS does not allow these credentials to look: no reason why a job should fail."""
    about = f"{what}: " if what else ""
    return Finding(check, "skipped", f"{about}AWS does not allow {error.operation_name}")
