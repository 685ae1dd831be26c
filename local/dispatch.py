"""Finds AWS's operations: methods that bear their names, so that a search for `CreateModel` leads to it."""

from __future__ import annotations

from typing import Any


def operations(*rooms: object) -> dict[str, Any]:
    """The methods of `rooms` that are operations, by name: all that begin with a capital letter."""
    return {name: getattr(room, name) for room in rooms for name in dir(room) if name[0].isupper()}
