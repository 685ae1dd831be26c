"""Metrics in a job's log: the names that the trainer prints, and the guard on users' regular expressions.

The regular expressions of MetricDefinitions are written for Java, by anybody, and applied to each line.
"""

from __future__ import annotations

import math
import re
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

from contract.patterns import BRANCH, REPEATS, subtrees

# Names as in CloudWatch; each matches `key=value` in the lines that the trainer prints, and in no longer key.
_METRICS: Final = {
    "train:loss": "train_loss",
    "train:accuracy": "train_accuracy",
    "train:top5": "train_top5",
    "train:macro_f1": "train_macro_f1",
    "validation:loss": "validation_loss",
    "validation:accuracy": "validation_accuracy",
    "validation:top5": "validation_top5",
    "validation:macro_f1": "validation_macro_f1",
    "validation:pictures": "validation_pictures",
    "test:loss": "test_loss",
    "test:accuracy": "test_accuracy",
    "test:pictures": "test_pictures",
    "learning_rate": "learning_rate",
    "images_per_second": "images_per_second",
    "data_wait_share": "data_wait_share",
    "epoch": "epoch",
    "kept_epoch": "kept_epoch",
}
METRIC_KEYS: Final = tuple(_METRICS.values())
METRIC_DEFINITIONS: Final[list[dict[str, str]]] = [
    {"Name": name, "Regex": rf"(?:^|\s){key}=([-+0-9.eEinfa]+)"} for name, key in _METRICS.items()
]

# Reported once, when all is over: no epoch's, and no points of a curve.
REPORTED_ONCE: Final = frozenset(
    {"validation:pictures", "test:loss", "test:accuracy", "test:pictures", "kept_epoch"}
)

_FEW: Final = 4  # repeats of a part that cannot do harm
# Java's possessive-free subset is Python's, except for named groups and a few classes.
_NAMED_GROUP: Final = re.compile(r"\(\?<(?=[A-Za-z])")


def format_metrics(**values: float) -> str:
    """`key=value` pairs as METRIC_DEFINITIONS read them: whole numbers as such, others with six digits."""
    parts = []
    for key, value in values.items():
        text = (
            str(value) if isinstance(value, int) else f"{value:.6g}" if math.isfinite(value) else str(value)
        )
        parts.append(f"{key}={text}")
    return " ".join(parts)


def compiled(regex: str) -> re.Pattern[str]:
    """A MetricDefinition's Regex, which is written for Java.

    Raises:
        re.error, RecursionError, OverflowError: it is none.
    """
    return re.compile(_NAMED_GROUP.sub("(?P<", regex))


def is_explosive(regex: str) -> bool:
    """Whether some line may keep the regex busy for ever: it repeats a part that itself has several lengths.

    Python's `re` tries all ways to divide a line among such repeats, and nothing can interrupt it.
    """
    return _varies_repeatedly(parser.parse(_NAMED_GROUP.sub("(?P<", regex)), repeated=False)


def _varies_repeatedly(tree: Any, *, repeated: bool) -> bool:
    for code, argument in tree:
        repeats = code in REPEATS
        if repeated and (code is BRANCH or (repeats and argument[0] != argument[1])):
            return True
        inside = repeated or (repeats and argument[1] > _FEW)
        if any(_varies_repeatedly(body, repeated=inside) for body in subtrees(code, argument)):
            return True
    return False
