"""What a container writes, while it runs."""

from __future__ import annotations

import queue


class Output:
    """Collects a container's output; `until` waits for a line."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()

    def __call__(self, line: str) -> None:
        self.all.append(line)
        self._queue.put(line)

    def until(self, start: str) -> str:
        while True:
            line = self._queue.get(timeout=60)
            if line.startswith(start):
                return line
