"""How far a training is, as a line of the log: often at first, less often in a long one."""

from __future__ import annotations

import logging
import time
from typing import Final

from contract.findings import ProgressLine, format_line

log = logging.getLogger("train")

SHORTEST: Final = 1.0
# A line each this share of the time that has passed: ten hours make some three thousand.
SHARE: Final = 1 / 600
FIRST_ESTIMATE: Final = 3.0  # seconds after which the time that is left is known well enough


class ProgressLog:
    """Prints at most a line a second.

    Args:
        steps, epochs: of the whole training.
        joins: the step from which a backbone learns beside its head: those before it say nothing about how
            long the others take.
    """

    def __init__(self, steps: int, epochs: int, joins: int = 0) -> None:
        self._steps, self._epochs, self._joins = steps, epochs, joins
        self._began = self._last = self._epoch_began = time.monotonic()
        self._first: int | None = None
        self._seen = 0

    def begin_epoch(self) -> None:
        """An epoch, or what is left of it, begins."""
        self._epoch_began, self._seen = time.monotonic(), 0

    def step(self, epoch: int, step: int, loss: float, pictures: int) -> None:
        """Training step `step` of epoch `epoch`, both counted from 0, is over."""
        self._seen += pictures
        now = time.monotonic()
        if self._first is None:
            self._first = step
        elif self._first < self._joins <= step:
            self._first, self._began = step, now
        passed = now - self._began
        if now - self._last < max(SHORTEST, passed * SHARE):
            return
        self._last = now
        done, left = step + 1 - self._first, self._steps - step - 1
        steady = passed > FIRST_ESTIMATE and step >= self._joins
        line = ProgressLine(
            epoch=epoch + 1,
            epochs=self._epochs,
            step=step + 1,
            steps=self._steps,
            loss=float(f"{loss:.6g}"),
            images_per_second=round(self._seen / max(now - self._epoch_began, 1e-9), 1),
            seconds_left=round(passed / done * left, 1) if steady else None,
        )
        log.info("%s", format_line(line))
