"""Levels in the containers' logs: a line that is more than information begins with its level."""

from __future__ import annotations

import re
from typing import Final

_LEVEL: Final = re.compile(r"level=(warning|error|critical) ")


def with_level(level: str, text: str) -> str:
    """The line for a message of that level, by Python's names: `level=warning skipped a.png: damaged`."""
    name = level.lower()
    return text if name in ("debug", "info") else f"level={name} {text}"


def is_alert(line: str) -> bool:
    """Whether the line is a warning or an error of ours."""
    return _LEVEL.match(line) is not None
