"""Shares this machine's cores among the training jobs that run at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from contract import container


@dataclass(frozen=True)
class Share:
    """What one training job may use."""

    cores: int


class Slots:
    """As many training jobs at once as there are cores, and at least two; the others wait in Starting.

    A job alone gets all cores. One that starts beside others gets its fair share, and the children of a
    tuning job get theirs from the start, because their siblings are about to come.
    """

    def __init__(self, cores: int | None = None) -> None:
        self.cores = cores or container.cores()
        self._limit = max(2, self.cores)
        self._running = 0
        self._free = threading.Condition()

    def acquire(
        self, siblings: int, cancelled: threading.Event, waiting: Callable[[], None] = lambda: None
    ) -> Share | None:
        """Waits for a slot; None if `cancelled` was set before there was one (then call `wake`).

        `siblings`: how many jobs of the same tuning job run at once, itself included; 1 for a job alone.
        `waiting` is called if there is none at once.
        """
        with self._free:
            full = self._running >= self._limit
        if full:
            waiting()
        with self._free:
            self._free.wait_for(lambda: self._running < self._limit or cancelled.is_set())
            if cancelled.is_set():
                return None
            self._running += 1
            parts = max(min(siblings, self._limit), self._running)
            return Share(max(1, self.cores // parts))

    def release(self) -> None:
        with self._free:
            self._running -= 1
            self._free.notify_all()

    def wake(self) -> None:
        """Lets waiting jobs see that they were cancelled."""
        with self._free:
            self._free.notify_all()
