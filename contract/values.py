"""Values that people and APIs write as text."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def boolean(value: object) -> bool | None:
    """True or False for the API's strings and JSON's booleans, None for anything else."""
    text = str(value).strip().lower()
    return {"true": True, "1": True, "false": False, "0": False}.get(text)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The allowed name that was probably meant; empty where none is near."""
    return next(iter(get_close_matches(name, list(allowed), 1)), "")
