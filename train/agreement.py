"""Whether a network in a lower precision may answer for the one that was trained: judged by its answers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import numpy as np

CLEAR: Final = 0.1  # of probability between the two best classes: below, the network itself is unsure
LEAST_CLEAR: Final = 0.995
LEAST_ALL: Final = 0.98
LEAST_PICTURES: Final = 300  # for 8-bit integers; 1 in 200 cannot be seen in fewer
MOST_PICTURES: Final = 2000

Numbers = np.ndarray[Any, np.dtype[np.float32]]
Labels = np.ndarray[Any, np.dtype[np.int64]]


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What model.json says of a precision; shares, not percent; None where nothing was measured.

    `agreement` is the share of pictures with the same best class as in fp32, `agreement_clear` that among
    pictures where fp32 is sure; `accuracy` and `accuracy_fp32` are of the same pictures.
    """

    accepted: bool
    reason: str
    pictures: int = 0
    agreement: float | None = None
    agreement_clear: float | None = None
    accuracy: float | None = None
    accuracy_fp32: float | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def judge(full: Numbers, lower: Numbers, labels: Labels, least_pictures: int = 1) -> Judgement:
    """Compare probabilities [N, classes] in fp32 and in a lower precision of the same N pictures."""
    count = len(labels)
    if count < max(1, least_pictures):
        return Judgement(
            False, f"{count} pictures to judge it by, and it takes {max(1, least_pictures)}", count
        )
    if not np.isfinite(lower).all():
        return Judgement(False, "it overflows", count)
    best, named = full.argmax(axis=1), lower.argmax(axis=1)
    two = np.sort(full, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] >= CLEAR
    same = best == named
    agreement = float(same.mean())
    agreement_clear = float(same[clear].mean()) if clear.any() else 1.0
    right, right_full = (named == labels).astype(np.int64), (best == labels).astype(np.int64)
    changes = right - right_full
    error = float(changes.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    reason = ""
    if agreement_clear < LEAST_CLEAR:
        reason = f"it agrees on {agreement_clear:.2%} of the clear pictures; it takes {LEAST_CLEAR:.1%}"
    elif agreement < LEAST_ALL:
        reason = f"it agrees on {agreement:.2%} of the pictures; it takes {LEAST_ALL:.0%}"
    elif float(changes.mean()) < -error * (1 + 1e-9):  # one picture alone is exactly one standard error
        reason = f"accuracy falls by {-changes.mean():.2%}, more than the standard error of {error:.2%}"
    return Judgement(
        not reason,
        reason or f"it agrees on {agreement:.2%} of {count} pictures",
        count,
        round(agreement, 6),
        round(agreement_clear, 6),
        round(float(right.mean()), 6),
        round(float(right_full.mean()), 6),
    )
