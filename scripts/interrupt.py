"""Ctrl-C: quiet while nothing has begun, an exception while a command runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def be_quiet() -> None:
    """From now on Ctrl-C ends the program at once, with exit code 130.

    An exception would come up anywhere in the imports, to be shown as a traceback or swallowed.
    """
    if (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # a background job of a shell ignores it
        signal.signal(signal.SIGINT, _end)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block Ctrl-C raises KeyboardInterrupt: a command may have something to end."""
    if signal.getsignal(signal.SIGINT) is not _end:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(130)
