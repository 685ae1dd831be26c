"""Where a step's time goes: waiting for data, copying, forward, backward, optimizer, the rest.

Every step is a line in `framework/steps/<host>-<rank>.jsonl` and, for smdebug's readers, trace events. On a
GPU the host runs ahead of the device, so the phases there are timed by CUDA events, read steps later, when
reading them no longer waits.
"""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import IO, Any

import torch

from train.debug.config import ProfilerSettings
from train.debug.trace import TraceWriter

PHASES = ("data_wait", "host_to_device", "forward", "backward", "optimizer")
_TRACE_NAMES = {
    "data_wait": "DataWait",
    "host_to_device": "HostToDevice",
    "forward": "Forward",
    "backward": "Backward(post-forward)",
    "optimizer": "Optimizer",
}
FLUSH_SECONDS = 2.0
MAX_PENDING = 64


@dataclass(slots=True)
class _Step:
    number: int
    mode: str
    epoch: float
    began: float
    cpu: float  # of all threads of this process, in seconds
    hook: float = 0.0
    total: float = 0.0
    host: dict[str, float] = field(default_factory=dict)
    starts: dict[str, float] = field(default_factory=dict)
    device: list[tuple[str, Any, Any]] = field(default_factory=list)


class StepProfiler:
    """Times steps; `device` is where the model lies."""

    def __init__(self, settings: ProfilerSettings, host: str, rank: int, device: torch.device) -> None:
        folder = settings.local_path / "framework" / "steps"
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = (folder / f"{host}-{rank}.jsonl").open("a")
        self._trace = TraceWriter(
            settings.local_path, f"{rank}-{host}", settings.rotate_bytes, settings.rotate_seconds
        )
        self._cuda = device.type == "cuda"
        self._pending: deque[_Step] = deque()
        self._step: _Step | None = None
        self._flushed = time.monotonic()
        self._window = OperatorWindow(settings, f"{host}-{rank}", self._cuda)

    def begin_step(self, mode: str, number: int) -> None:
        """Start the clock."""
        if mode == "TRAIN":
            self._window.before(number)
        self._step = _Step(number, mode, time.time(), time.perf_counter(), time.process_time())

    def add_hook_time(self, seconds: float) -> None:
        """Time that the debugger's hook took: reported by itself, in no phase."""
        if self._step is not None:
            self._step.hook += seconds

    def begin_phase(self, name: str) -> tuple[float, float, Any]:
        """Start a phase; hand what this returns to `end_phase`."""
        step = self._step
        event = None
        if step is not None and self._cuda and name != "data_wait":
            event = self._mark()
        now = time.perf_counter()
        if step is not None:
            step.starts.setdefault(name, now)
        return now, step.hook if step is not None else 0.0, event

    def end_phase(self, name: str, begun: tuple[float, float, Any]) -> None:
        """End a phase. A phase may come several times in a step."""
        step = self._step
        if step is None:
            return
        now = time.perf_counter()
        started, hook, event = begun
        seconds = now - started - (step.hook - hook)
        step.host[name] = step.host.get(name, 0.0) + max(seconds, 0.0)
        if event is not None:
            step.device.append((name, event, self._mark()))

    def end_step(self) -> None:
        """Stop the clock and write the steps whose times are known."""
        step, self._step = self._step, None
        if step is None:
            return
        step.total = time.perf_counter() - step.began
        step.cpu = time.process_time() - step.cpu
        self._pending.append(step)
        while self._pending and (len(self._pending) > MAX_PENDING or self._ready(self._pending[0])):
            self._write(self._pending.popleft())
        if step.mode == "TRAIN":
            self._window.after(step.number)
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self._flushed = time.monotonic()
            self._file.flush()

    def close(self) -> None:
        """Write everything that is left."""
        self._window.close()
        if self._cuda and self._pending:
            torch.cuda.synchronize()
        while self._pending:
            self._write(self._pending.popleft())
        self._trace.rotate()
        self._file.close()

    @staticmethod
    def _mark() -> Any:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()  # type: ignore[no-untyped-call]
        return event

    @staticmethod
    def _ready(step: _Step) -> bool:
        return not step.device or bool(step.device[-1][2].query())

    def _write(self, step: _Step) -> None:
        seconds = dict(step.host)
        if step.device:
            step.device[-1][2].synchronize()
            for name in {name for name, _, _ in step.device}:
                seconds[name] = 0.0
            for name, start, end in step.device:
                seconds[name] += start.elapsed_time(end) / 1e3
        other = step.total - sum(seconds.values()) - step.hook
        record: dict[str, Any] = {"step": step.number, "mode": step.mode, "start": round(step.epoch, 6)}
        record["total_ms"] = round(step.total * 1e3, 3)
        for name in PHASES:
            record[f"{name}_ms"] = round(seconds.get(name, 0.0) * 1e3, 3)
        record["other_ms"] = round(max(other, 0.0) * 1e3, 3)
        record["hook_ms"] = round(step.hook * 1e3, 3)
        record["cpu_ms"] = round(step.cpu * 1e3, 3)
        self._file.write(json.dumps(record) + "\n")
        mode = f"Step:ModeKeys.{step.mode}"
        arguments = {"step_num": str(step.number)}
        self._trace.add(mode, mode, step.epoch, step.total, arguments)
        for name, length in seconds.items():
            begun = step.epoch + step.starts.get(name, step.began) - step.began
            self._trace.add(_TRACE_NAMES[name], _TRACE_NAMES[name], begun, length, arguments)


class OperatorWindow:
    """A few steps under `torch.profiler`, where DetailedProfilingConfig asks for them.

    Writes `framework/torch/<worker>-step<n>.json`, a trace that Perfetto opens, and `…-operators.json`, the
    operators that took longest.
    """

    def __init__(self, settings: ProfilerSettings, worker: str, cuda: bool) -> None:
        self._start = settings.window_start
        self._steps = settings.window_steps
        self._folder = settings.local_path / "framework" / "torch"
        self._worker = worker
        self._cuda = cuda
        self._profile: Any = None

    def before(self, number: int) -> None:
        """Open the window if `number` is its first step."""
        if self._start is None or self._steps < 1 or self._profile is not None or number < self._start:
            return
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self._cuda:
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._start = number
        self._profile = torch.profiler.profile(activities=activities, acc_events=True)
        self._profile.__enter__()

    def after(self, number: int) -> None:
        """Close the window after its last step."""
        if self._profile is not None and self._start is not None and number >= self._start + self._steps - 1:
            self.close()

    def close(self) -> None:
        """Write what was profiled; the window opens only once in a job."""
        profile, self._profile = self._profile, None
        if profile is None:
            return
        first, self._start = self._start, None
        profile.__exit__(None, None, None)
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = f"{self._worker}-step{first}"
        profile.export_chrome_trace(str(self._folder / f"{stem}.json"))
        rows = []
        for average in profile.key_averages():
            device = float(getattr(average, "self_device_time_total", 0.0))
            rows.append(
                {
                    "name": average.key,
                    "calls": int(average.count),
                    "cpu_ms": round(average.self_cpu_time_total / 1e3, 3),
                    "device_ms": round(device / 1e3, 3),
                }
            )
        rows.sort(key=lambda row: -(row["device_ms"] or row["cpu_ms"]))
        (self._folder / f"{stem}-operators.json").write_text(json.dumps(rows[:50]))
