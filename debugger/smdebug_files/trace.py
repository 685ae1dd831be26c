"""Writes step timings as trace events in the files that smdebug's profiler readers look for.

A file is `framework/pevents/<YYYYMMDDHH>/<end µs>_<rank>-<host>_pythontimeline.json`: Chrome's trace format,
its first record holding `start_time_since_epoch_in_micros`, one "process" a phase. It appears whole, when
it is rotated or closed, because its name holds the end of its last event.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

SUFFIX = "pythontimeline.json"


class TraceWriter:
    """Collects complete ("X") events and rotates them out by size and age."""

    _end: int
    _size: int

    def __init__(self, folder: Path, node: str, rotate_bytes: int, rotate_seconds: float) -> None:
        self._folder = folder / "framework" / "pevents"
        self._node = node.replace("_", "-")
        self._rotate_bytes = rotate_bytes
        self._rotate_seconds = rotate_seconds
        self._phases: dict[str, int] = {}
        self._start(time.time())

    def add(self, phase: str, name: str, start: float, seconds: float, arguments: dict[str, Any]) -> None:
        """Add one event: `start` in epoch seconds."""
        if phase not in self._phases:
            self._phases[phase] = len(self._phases) + 1
        identifier = self._phases[phase]
        if identifier not in self._introduced:
            self._introduced.add(identifier)
            self._meta("process_name", identifier, {"name": phase})
            self._meta("process_sort_index", identifier, {"sort_index": identifier})
        begin, duration = int(start * 1e6), int(seconds * 1e6)
        self._end = max(self._end, begin + duration)
        self._line(
            {
                "name": name,
                "pid": identifier,
                "ph": "X",
                "ts": begin - self._epoch,
                "dur": duration,
                "args": arguments,
            }
        )
        if self._size >= self._rotate_bytes or time.time() - self._opened >= self._rotate_seconds:
            self.rotate()

    def rotate(self) -> None:
        """Write the events so far to their file."""
        if self._introduced:
            hour = time.strftime("%Y%m%d%H", time.gmtime(self._end / 1e6))
            folder = self._folder / hour
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / f"{self._end}_{self._node}_{SUFFIX}"
            aside = target.with_suffix(".tmp")
            aside.write_text("[\n" + ",\n".join(self._lines) + "\n]")
            aside.replace(target)
        self._start(time.time())

    def _start(self, now: float) -> None:
        self._opened = now
        self._epoch = int(now * 1e6)
        self._end = self._epoch
        self._lines: list[str] = []
        self._size = 0
        self._introduced: set[int] = set()
        self._meta("process_name", 0, {"start_time_since_epoch_in_micros": self._epoch})
        self._meta("process_sort_index", 0, {"sort_index": 0})

    def _meta(self, name: str, identifier: int, arguments: dict[str, Any]) -> None:
        self._line({"name": name, "ph": "M", "pid": identifier, "args": arguments})

    def _line(self, record: dict[str, Any]) -> None:
        text = json.dumps(record)
        self._lines.append(text)
        self._size += len(text) + 2
