"""How lines of the containers' logs begin: with their level, where that is more than information."""

from __future__ import annotations

import re
from typing import Final

# Begins the line that says what a training chose where its settings leave it open.
RECIPE: Final = "recipe: "
_LEVEL: Final = re.compile(r"level=(warning|error|critical) (.*)", re.DOTALL)


def with_level(level: str, text: str) -> str:
    """The line for a message of that level, by Python's names: `level=warning skipped a.png: damaged`."""
    name = level.lower()
    return text if name in ("debug", "info") else f"level={name} {text}"


def alert(line: str) -> tuple[str, str] | None:
    """Level and message of a line that is a warning or an error of ours; None for other lines."""
    match = _LEVEL.match(line)
    return (match[1], match[2]) if match else None
