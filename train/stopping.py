"""When to end before the work is done: SIGTERM from the platform, or a time limit."""

from __future__ import annotations

import signal
import time


class Stopped(Exception):
    """The job was told to end."""


class Stopping:
    """Remembers that the job is to end; the loop asks between batches.

    SageMaker sends SIGTERM before it takes a spot machine away or a job is stopped, and SIGKILL 120 s later.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._deadline = float("inf")

    def listen(self) -> None:
        """Take SIGTERM (and Ctrl-C) as a request to end. A second one changes nothing."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def after_minutes(self, minutes: float) -> None:
        """End after so long; 0 for never."""
        if minutes:
            self._deadline = time.monotonic() + 60 * minutes

    def asked(self) -> bool:
        if not self.reason and time.monotonic() > self._deadline:
            self.reason = "because max_minutes is over"
        return bool(self.reason)

    def _on_signal(self, number: int, frame: object) -> None:
        self.reason = f"by {signal.Signals(number).name}"
