"""When to end before the work is done: SIGTERM from the platform, or a time limit."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Final

_PATIENCE: Final = 100.0  # seconds; SageMaker sends SIGKILL 120 s after SIGTERM


class Stopped(Exception):
    """The job was asked to end."""


class Stopping:
    """Remembers that the job is to end; the loop asks between batches.

    SageMaker sends SIGTERM before it takes a spot machine away or a job is stopped, and SIGKILL 120 s later.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.reason = ""
        self._now = now
        self._deadline = float("inf")
        self._asked = threading.Event()
        self._signalled = False

    def listen(self) -> None:
        """Take SIGTERM (and Ctrl-C) as a request to end. A second one changes nothing."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def after_minutes(self, minutes: float) -> None:
        """End after so long; 0 for never."""
        if minutes:
            self._deadline = self._now() + 60 * minutes

    @property
    def seconds_left(self) -> float:
        """Until the time limit; infinite where there is none."""
        return self._deadline - self._now()

    def asked(self) -> bool:
        if not self.reason and self._now() > self._deadline:
            self.reason = "because max_minutes is over"
        if self.reason:
            self._asked.set()
        return bool(self.reason)

    def signalled(self) -> bool:
        """Whether the platform asks: the time limit alone does not cut what follows the training."""
        return self._signalled

    def watch(self, give_up: Callable[[], None], patience: float = _PATIENCE) -> Callable[[], None]:
        """Call `give_up`, from a thread, where nobody asks within `patience` seconds of the request to end.

        Then the main thread waits for another rank, in a collective, where Python runs no signal handlers.

        Returns:
            What ends the watching. To be called, as this, in the main thread.
        """
        ended = threading.Event()
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)

        def wait() -> None:
            # The byte comes from the signal's C handler, which runs whatever the main thread does.
            signalled = False
            while not (ended.is_set() or signalled or self._now() > self._deadline):
                left = max(0.0, min(1.0, self._deadline - self._now()))
                if select.select([read], [], [], left)[0]:
                    signalled = bool({signal.SIGTERM, signal.SIGINT} & set(os.read(read, 64)))
            if not ended.is_set() and not self._asked.wait(patience) and not ended.is_set():
                give_up()

        thread = threading.Thread(target=wait, name="watch", daemon=True)
        thread.start()

        def end() -> None:
            ended.set()
            self._asked.set()
            signal.set_wakeup_fd(before)
            thread.join()
            os.close(read)
            os.close(write)

        return end

    def _on_signal(self, number: int, frame: object) -> None:
        self._signalled = True
        self.reason = f"by {signal.Signals(number).name}"
