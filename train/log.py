"""Plain lines on standard output, where CloudWatch and the metric definitions look."""

from __future__ import annotations

import logging
import sys


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"


def start_logging(is_first: bool) -> None:
    """Log to standard output; of several processes the first tells everything, the others only warnings."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter("%(message)s"))
    logger = logging.getLogger("train")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO if is_first else logging.WARNING)
