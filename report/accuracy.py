"""What an accuracy on so many pictures says: its 95 % interval, and whether two of them really differ."""

from __future__ import annotations

import math

from report.words import percent, plural

_Z = 1.959964  # of the normal distribution, 2.5 % on each side


def interval(accuracy: float, pictures: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, which holds near 0 and 1 too (Wilson 1927, JASA 22, 209)."""
    middle = accuracy + _Z**2 / (2 * pictures)
    half = _Z * math.sqrt(accuracy * (1 - accuracy) / pictures + _Z**2 / (4 * pictures**2))
    whole = 1 + _Z**2 / pictures
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def described(accuracy: float, pictures: float | None) -> str:
    """`98.14 % of 269 pictures (95 % interval: 95.7 to 99.2 %)`; the share alone where `pictures` is None."""
    if not pictures or not 0 <= accuracy <= 1:
        return percent(accuracy, 2)
    low, high = interval(accuracy, int(pictures))
    within = f"95 % interval: {100 * low:.1f} to {100 * high:.1f} %"
    return f"{percent(accuracy, 2)} of {plural(int(pictures), 'picture')} ({within})"


def differ(one: float, other: float, pictures: int) -> bool:
    """Whether two accuracies on sets of that size differ by more than chance explains, at 95 %.

    Two models on the same pictures err on the same ones more often than chance would have it, so that the
    true threshold is lower: what differs by this test does differ.
    """
    mean = (one + other) / 2
    return abs(one - other) > _Z * math.sqrt(2 * mean * (1 - mean) / pictures)
