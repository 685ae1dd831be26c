"""What is on its way to the browser: JSON, and the form of what a live page shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from contract.findings import plain


def dump(document: Any) -> str:
    """JSON that every browser reads: no NaN, no half characters."""
    text = json.dumps(plain(document), separators=(",", ":"), allow_nan=False, default=str)
    return text.encode("utf-8", "replace").decode()


class Source(Protocol):
    """What a stream of events sends; shared by all tabs that show it."""

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""

    def look(self) -> None:
        """Read what is new; returns at once if that was just done."""

    def documents(self) -> Mapping[str, str]:
        """JSON by key."""

    def lines(self, since: int) -> tuple[int, list[str]]:
        """The log's lines after the first `since`, and how many there are now."""
