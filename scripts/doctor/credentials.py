"""Who AWS thinks we are, and where; and whether this machine's clock is right, which signatures need."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from scripts.doctor.finding import Finding

if TYPE_CHECKING:
    from scripts.aws import Clients

_REFUSED = 300  # seconds; AWS refuses requests that are dated further off (RequestTimeTooSkewed)
_CLOSE = 60


def credentials(clients: Clients) -> Iterator[Finding]:
    who: Any = clients.sts.get_caller_identity()
    where = clients.endpoint_url or "AWS"
    yield Finding("credentials", "ok", f"{who['Arn']} in {clients.region} at {where}")
    if who["Arn"].endswith(":root"):
        yield Finding(
            "credentials",
            "warning",
            "these are the account's root credentials, which no policy limits",
            "Use a role or a user with the policy that `byoc setup --print user-policy` shows.",
        )
    date = who.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if date:
        yield clock(parsedate_to_datetime(date), datetime.now(UTC))


def clock(theirs: datetime, ours: datetime) -> Finding:
    """Compares AWS's clock, as its answer is dated, with this machine's."""
    off = (ours - theirs).total_seconds()
    if abs(off) < _CLOSE:
        return Finding("clock", "ok", f"{abs(off):.0f} s from AWS's")
    direction = "ahead of" if off > 0 else "behind"
    return Finding(
        "clock",
        "error" if abs(off) >= _REFUSED else "warning",
        f"this machine's is {abs(off):.0f} s {direction} AWS's; at {_REFUSED} s AWS refuses every request",
        "Set it: `timedatectl set-ntp true`, or start the time service of the machine.",
    )
