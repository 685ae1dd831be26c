"""Values of JSON that anybody may have written, as what they should be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LARGEST = 1e150
"""What is larger counts as infinite: sums and squares of it would be. No 32-bit float comes near."""


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def number(value: object) -> float:
    """A float; NaN for all that is not one. JSON has no NaN, so writers put null or a word in its place."""
    if isinstance(value, bool) or value is None:
        return math.nan
    if isinstance(value, int | float):
        if abs(value) > LARGEST:
            return math.inf if value > 0 else -math.inf
        return float(value)
    if isinstance(value, str) and value.lower() in {"nan", "inf", "-inf", "infinity", "-infinity"}:
        return float(value)
    return math.nan
