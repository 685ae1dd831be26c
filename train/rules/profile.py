"""Step timings and system metrics, followed while they are written.

Step timings are this project's `framework/steps/<host>-<rank>.jsonl`; system metrics are the platform's
`system/incremental/<hour>/<minute>.<node>.json` in AWS's format; the operators that took longest are
`framework/torch/<worker>-step<n>-operators.json`, where a window was asked for. Broken lines are skipped and
counted.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PHASES = ("data_wait_ms", "host_to_device_ms", "forward_ms", "backward_ms", "optimizer_ms", "other_ms")
MAX_LINE = 10_000
MAX_STEPS = 2_000_000
_SYSTEM_FILE = re.compile(r"\d{10}\.[\w-]{1,60}\.json")
_STEPS_FILE = re.compile(r"[\w.-]{1,100}\.jsonl")
_OPERATORS_FILE = re.compile(r"[\w.-]{1,100}-operators\.json")
MAX_OPERATORS = 50
# Metrics of one sampling round carry timestamps that differ by milliseconds.
BUCKETS_PER_SECOND = 10


@dataclass(frozen=True, slots=True)
class StepTime:
    """One step of one worker; times in milliseconds, start in epoch seconds."""

    worker: str
    step: int
    mode: str
    start: float
    total: float
    phases: tuple[float, ...]  # in the order of PHASES
    cpu: float | None = None  # of the training process, all threads


@dataclass(slots=True)
class Sample:
    """One node's machine at one moment; percent, except the network's and disk's bytes a second."""

    time: float
    node: str
    cores: dict[str, float] = field(default_factory=dict)
    gpus: dict[str, float] = field(default_factory=dict)
    gpu_memory: dict[str, float] = field(default_factory=dict)
    io_wait: dict[str, float] = field(default_factory=dict)
    memory: float | None = None
    received: float | None = None
    sent: float | None = None
    disk_read: float | None = None
    disk_written: float | None = None
    gpu_power: dict[str, float] = field(default_factory=dict)  # watts

    @property
    def cpu(self) -> float | None:
        """Mean over the cores."""
        return _mean(self.cores)

    @property
    def gpu(self) -> float | None:
        """Mean over the GPUs."""
        return _mean(self.gpus)


@dataclass
class Profile:
    """All that is known so far."""

    steps: list[StepTime] = field(default_factory=list)
    samples: dict[tuple[str, int], Sample] = field(default_factory=dict)
    started: float | None = None  # epoch seconds of the first sign of the job
    now: float = 0.0
    ended: bool = False
    dataloader_workers: int | None = None
    operators: list[dict[str, Any]] = field(default_factory=list)  # name, calls, cpu_ms, device_ms
    operators_from: str = ""  # which worker and step they were recorded from

    def timeline(self) -> list[Sample]:
        """The samples in order of time."""
        return [self.samples[key] for key in sorted(self.samples, key=lambda key: (key[1], key[0]))]

    @property
    def has_gpu(self) -> bool:
        """Whether any sample has a GPU."""
        return any(sample.gpus for sample in self.samples.values())


class ProfileReader:
    """Reads what was appended since the last poll."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.profile = Profile()
        self.skipped = 0
        self._offsets: dict[Path, int] = {}

    def poll(self) -> bool:
        """Read on; returns whether there was anything new."""
        before = (len(self.profile.steps), len(self.profile.samples))
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
        return before != (len(self.profile.steps), len(self.profile.samples))

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
        if len(self.profile.steps) >= MAX_STEPS:
            return
        values = [_finite(record.get(phase)) or 0.0 for phase in PHASES]
        cpu = _finite(record.get("cpu_ms"))
        self.profile.steps.append(StepTime(worker, int(step), mode, start, total, tuple(values), cpu))
        self._first_sign(start)

    def _add_metric(self, record: dict[str, Any]) -> None:
        value, when = _finite(record.get("Value")), _finite(record.get("Timestamp"))
        if value is None or when is None:
            self.skipped += 1
            return
        node, name = str(record.get("NodeId", ""))[:60], str(record.get("Name", ""))[:60]
        key = (node, int(when * BUCKETS_PER_SECOND))
        sample = self.profile.samples.get(key)
        if sample is None:
            sample = self.profile.samples[key] = Sample(when, node)
        dimension = str(record.get("Dimension", ""))
        if dimension == "CPUUtilization":
            sample.cores[name] = value
        elif dimension == "GPUUtilization":
            sample.gpus[f"{node}/{name}"] = value
        elif dimension == "GPUMemoryUtilization":
            sample.gpu_memory[f"{node}/{name}"] = value
        elif dimension == "I/OWaitPercentage":
            sample.io_wait[name] = value
        elif dimension == "MemoryUsedPercent":
            sample.memory = value
        elif dimension == "ReceiveBytesPerSecond":
            sample.received = (sample.received or 0.0) + value
        elif dimension == "TransmitBytesPerSecond":
            sample.sent = (sample.sent or 0.0) + value
        elif dimension == "ReadBytesPerSecond":
            sample.disk_read = (sample.disk_read or 0.0) + value
        elif dimension == "WriteBytesPerSecond":
            sample.disk_written = (sample.disk_written or 0.0) + value
        elif dimension == "GPUPowerWatts":
            sample.gpu_power[f"{node}/{name}"] = value
        self._first_sign(when)

    def _first_sign(self, when: float) -> None:
        started = self.profile.started
        self.profile.started = when if started is None else min(started, when)


def io_wait(sample: Sample) -> float | None:
    """Mean I/O wait of a sample, in percent."""
    return _mean(sample.io_wait)


def _mean(values: dict[str, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    number = float(value) if abs(value) < 1e300 else math.inf
    return number if math.isfinite(number) else None
