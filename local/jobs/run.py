"""What the runs of all kinds of jobs share: each lives in a thread of its own."""

from __future__ import annotations

import threading

from local.errors import DISK_FULL, is_disk_full


def cause_of(error: Exception) -> str:
    """What a FailureReason says of an error that nobody foresaw."""
    return DISK_FULL if is_disk_full(error) else f"The local SageMaker failed: {error!r}"


class Run:
    """One job from its start to its end; subclasses do the work in `_run`."""

    def __init__(self, kind: str, name: str) -> None:
        self.name = name
        self._thread = threading.Thread(target=self._run, name=f"{kind} {name}", daemon=True)

    def _run(self) -> None:
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()
