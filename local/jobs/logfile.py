"""Log streams: files with one `<epoch ms> <text>` per line, which the Logs API reads."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path


class LogFile:
    """Appends lines as they come, from any thread. Remembers the last ones for failure reasons."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Line by line on disk: readers follow the file, and a killed service loses nothing.
        self._file = path.open("a", encoding="utf-8", errors="replace", newline="\n", buffering=1)
        self._lock = threading.Lock()
        self._last: deque[str] = deque(maxlen=20)
        self._latest = 0

    def write(self, text: str) -> None:
        """One event per line of `text`. Empty lines are kept, as they structure a log."""
        with self._lock:
            if self._file.closed:
                return
            # A reader takes the times as sorted, and the clock may be set back.
            self._latest = max(self._latest, time.time_ns() // 1_000_000)
            for line in text.splitlines() or [""]:
                self._file.write(f"{self._latest} {line}\n")
                if line.strip():
                    self._last.append(line.strip())

    def tail(self, count: int = 1) -> list[str]:
        """The last non-empty lines, oldest first."""
        with self._lock:
            return list(self._last)[-count:]

    def close(self) -> None:
        with self._lock:
            self._file.close()
