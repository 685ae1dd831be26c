"""Follows the files of AWS's profiler, and of our step timings beside them, while they are written.

Step timings are `framework/steps/<host>-<rank>.jsonl`; system metrics are AWS's
`system/incremental/<hour>/<minute>.<node>.json`; the operators that took longest are
`framework/torch/<worker>-step<n>-operators.json`, where a window was asked for. Broken lines are skipped and
counted.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from debugger.profile import PHASES, Profile, StepTime

MAX_LINE = 10_000
MAX_OPERATORS = 50
_SYSTEM_FILE = re.compile(r"\d{10}\.[\w-]{1,60}\.json")
_STEPS_FILE = re.compile(r"[\w.-]{1,100}\.jsonl")
_OPERATORS_FILE = re.compile(r"[\w.-]{1,100}-operators\.json")


class ProfileReader:
    """Reads what was appended since the last poll."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.profile = Profile()
        self.skipped = 0
        self._offsets: dict[Path, int] = {}

    def poll(self) -> bool:
        """Read on; returns whether there was anything new."""
        before = dict(self._offsets)
        for path in self._files(self.root / "framework" / "steps", _STEPS_FILE):
            for record in self._lines(path):
                self._add_step(path.stem, record)
        hours = self.root / "system" / "incremental"
        for hour in self._folders(hours):
            for path in self._files(hour, _SYSTEM_FILE):
                for record in self._lines(path):
                    self._add_metric(record)
        if not self.profile.operators:
            for path in self._files(self.root / "framework" / "torch", _OPERATORS_FILE):
                self._read_operators(path)
        return before != self._offsets

    def _read_operators(self, path: Path) -> None:
        try:
            rows = json.loads(path.read_bytes()) if path.stat().st_size < 1_000_000 else None
        except (OSError, ValueError, RecursionError):
            rows = None
        if not isinstance(rows, list):
            self.skipped += 1
            return
        for row in rows[:MAX_OPERATORS]:
            if isinstance(row, dict):
                numbers = {key: _finite(row.get(key)) or 0.0 for key in ("calls", "cpu_ms", "device_ms")}
                self.profile.operators.append({"name": str(row.get("name", ""))[:120], **numbers})
        self.profile.operators_from = path.name.removesuffix("-operators.json")

    def _folders(self, folder: Path) -> list[Path]:
        try:
            entries = [Path(entry.path) for entry in os.scandir(folder) if entry.name.isdecimal()]
        except OSError:
            return []
        return sorted(entry for entry in entries if entry.is_dir() and not entry.is_symlink())

    def _files(self, folder: Path, pattern: re.Pattern[str]) -> list[Path]:
        try:
            names = [Path(entry.path) for entry in os.scandir(folder) if pattern.fullmatch(entry.name)]
        except OSError:
            return []
        root = self.root.resolve()
        return sorted(path for path in names if path.is_file() and path.resolve().is_relative_to(root))

    def _lines(self, path: Path) -> Iterator[dict[str, Any]]:
        offset = self._offsets.get(path, 0)
        size = path.stat().st_size
        if size == offset:
            return
        if size < offset:  # written anew
            offset = 0
        with path.open("rb") as stream:
            stream.seek(offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # still being written
                offset += len(line)
                if len(line) > MAX_LINE:
                    self.skipped += 1
                    continue
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    self.skipped += 1
                    continue
                if isinstance(record, dict):
                    yield record
        self._offsets[path] = offset

    def _add_step(self, worker: str, record: dict[str, Any]) -> None:
        step, start, total = (_finite(record.get(key)) for key in ("step", "start", "total_ms"))
        mode = str(record.get("mode", ""))
        if step is None or start is None or total is None or mode not in ("TRAIN", "EVAL", "PREDICT"):
            self.skipped += 1
            return
        values = [_finite(record.get(phase)) or 0.0 for phase in PHASES]
        cpu = _finite(record.get("cpu_ms"))
        self.profile.add_step(StepTime(worker, int(step), mode, start, total, tuple(values), cpu))

    def _add_metric(self, record: dict[str, Any]) -> None:
        value, when = _finite(record.get("Value")), _finite(record.get("Timestamp"))
        if value is None or when is None:
            self.skipped += 1
            return
        kind, node, name, dimension = (
            str(record.get(key, ""))[:60] for key in ("Type", "NodeId", "Name", "Dimension")
        )
        self.profile.add_metrics(node, when, [(kind, name, dimension, value)])


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    number = float(value) if abs(value) < 1e300 else math.inf
    return number if math.isfinite(number) else None
