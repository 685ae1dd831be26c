"""Spot capacity: when a job's machine is taken away, and for how long there is no other."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

_HOUR = 3600.0


@dataclass(frozen=True)
class Interruption:
    """A machine is taken away: SIGKILL follows SIGTERM after `grace` seconds, another comes after `wait`."""

    grace: float
    wait: float


def is_spot(doc: Mapping[str, Any]) -> bool:
    return bool(doc.get("EnableManagedSpotTraining"))


def wait_left(doc: Mapping[str, Any]) -> float | None:
    """What is left of a spot job's MaxWaitTimeInSeconds, which begins with its creation; None on demand."""
    if not is_spot(doc):
        return None
    passed = time.time() - float(doc["CreationTime"])
    return max(0.0, float(doc["StoppingCondition"]["MaxWaitTimeInSeconds"]) - passed)


class Alarm(AbstractContextManager["Alarm"]):
    """Calls `ring` once, `seconds` after the block was entered, unless it is left before; None: never."""

    def __init__(self, seconds: float | None, ring: Callable[[], None]) -> None:
        self._timer = None
        # A lock waits no longer than this, a century; a job does neither.
        if seconds is not None and seconds < threading.TIMEOUT_MAX:
            self._timer = threading.Timer(seconds, ring)
            self._timer.daemon = True

    def __enter__(self) -> Alarm:
        if self._timer is not None:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()


def next_interruption(per_hour: float) -> float | None:
    """Seconds until a machine is taken away, where that happens so often by chance; None: never."""
    return random.expovariate(per_hour / _HOUR) if per_hour > 0 else None
