"""One thing that a clean-up deletes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.prices import MONTH, money
from scripts.tags import is_forbidden


@dataclass(frozen=True)
class Part:
    """Something of the project, and how it is deleted. What is gone by then is no error."""

    kind: str
    """`endpoint`, `objects`, …"""
    name: str
    remove: Callable[[], object] = field(compare=False, repr=False)
    note: str = ""
    """Its status or size."""
    hourly: float | None = 0.0
    """Dollars while it is there; None: it costs something, and nobody knows how much."""
    done: str = "deleted"
    """What has become of it."""

    @property
    def cost(self) -> str:
        if self.hourly is None:
            return "price unknown"
        month = self.hourly * MONTH
        return (
            ""
            if not self.hourly
            else f"{money(self.hourly)} an hour"
            if month > 20
            else f"{money(month)} a month"
        )

    @property
    def text(self) -> str:
        more = ", ".join(each for each in (self.note, self.cost) if each)
        return f"{self.kind} {self.name}" + (f" ({more})" if more else "")

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "note": self.note, "hourly": self.hourly}


@dataclass(frozen=True)
class Found:
    """What there is of one kind; what of it stays, and what could not be looked at, in sentences."""

    parts: Sequence[Part] = ()
    stays: Sequence[str] = ()
    unseen: Sequence[str] = ()

    def __add__(self, other: Found) -> Found:
        return Found([*self.parts, *other.parts], [*self.stays, *other.stays], [*self.unseen, *other.unseen])


def seen(look: Callable[[], Found], what: str, service: str = "") -> Found:
    """What a look finds; where AWS does not allow it, a sentence that `what` (`logs`) stays.

    Args:
        service: a part of AWS that a VPC may not reach: that it does not answer is a sentence, too. For what
            has no such name it is an error.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return look()
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and is_forbidden(error):
            return Found(unseen=[f"AWS does not allow {error.operation_name}: {what} stay."])
        if isinstance(error, BotoCoreError) and service:
            return Found(unseen=[f"{service} does not answer, so {what} stay: {error}"])
        raise
