"""Plain lines on standard output, where CloudWatch and the metric definitions look."""

from __future__ import annotations

import logging
import re
import sys
from typing import Final

from contract.log import with_level
from contract.metrics import METRIC_KEYS, format_metrics

_METRIC: Final = re.compile(rf"(?<!\S)({'|'.join(METRIC_KEYS)})=")


def log_metrics(**values: float) -> None:
    """Log metrics so that SageMaker's expressions match. No other line does, whatever the names of files."""
    logging.getLogger("train").info(format_metrics(**values), extra={"metrics": True})


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # Names of files and classes are whatever their author liked: a line break is one of the characters.
        text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in super().format(record))
        if not hasattr(record, "metrics"):
            text = _METRIC.sub(r"\1 =", text)
        return with_level(record.levelname, text)


def start_logging(is_first: bool) -> None:
    """Log to standard output; of several processes the first logs everything, the others only warnings."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter("%(message)s"))
    logger = logging.getLogger("train")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO if is_first else logging.WARNING)
