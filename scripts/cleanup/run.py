"""Deleting part by part: what fails is named and passed over, what nobody can go on after ends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from contract.errors import UNREACHABLE, ByocError
from scripts.cleanup.part import Part
from scripts.errors import translate
from scripts.tags import is_forbidden


@dataclass
class Outcome:
    """How far it came."""

    deleted: list[Part] = field(default_factory=list)
    failed: list[tuple[Part, str]] = field(default_factory=list)
    """With the reason."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "deleted": [part.as_dict() for part in self.deleted],
            "failed": [{**part.as_dict(), "reason": reason} for part, reason in self.failed],
        }


def delete(parts: Sequence[Part], outcome: Outcome) -> Iterator[tuple[Part, str]]:
    """Delete the parts, in order; yields each, with the reason if that failed. Keeps `outcome` up to date.

    Records of jobs stay where something before them failed: a second run finds logs by them.

    Raises:
        ByocError: the credentials have run out, or AWS does not answer: nothing more can be deleted.
    """
    for part in parts:
        if part.kind == "record" and outcome.failed:
            outcome.failed.append((part, "a part before it failed, and its logs are found by the record"))
            yield outcome.failed[-1]
            continue
        try:
            part.remove()
        except Exception as error:
            readable = translate(error)
            if readable is None:
                raise
            outcome.failed.append((part, readable.message))
            if _ends_all(error, readable):
                raise readable from error
            yield outcome.failed[-1]
            continue
        outcome.deleted.append(part)
        yield part, ""


def _ends_all(error: Exception, readable: ByocError) -> bool:
    from botocore.exceptions import ClientError

    if readable.code == UNREACHABLE:
        return True
    code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
    expired = (
        "Expired" in code or "Token" in code or code in ("InvalidClientTokenId", "SignatureDoesNotMatch")
    )
    return (
        (expired and not is_forbidden(error))
        if isinstance(error, ClientError)
        else readable.kind == "NoCredentials"
    )
