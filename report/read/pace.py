"""Waiting between two looks at something that AWS does."""

from __future__ import annotations

import time


class Pace:
    """Waits shortly while something happens, longer while nothing does."""

    def __init__(self, shortest: float = 0.3, longest: float = 3.0) -> None:
        self._shortest, self._longest, self._next = shortest, longest, shortest

    def wait(self, *, news: bool = False) -> None:
        self._next = self._shortest if news else min(self._next * 1.4, self._longest)
        time.sleep(self._next)
