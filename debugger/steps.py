"""Where a step's time goes: waiting for data, copying, forward, backward, optimizer, the rest.

On a GPU the host runs ahead of the device, so the phases there are timed by CUDA events, read steps later,
when reading them no longer waits.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from debugger.profile import PHASES, StepTime

MAX_PENDING = 64
MAX_OPERATORS = 50


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
    """Times steps.

    Args:
        worker: whose they are, `<host>-<rank>`.
        device: where the model lies.
        window: a few steps under torch.profiler.
        report: takes each step, in order, when its times are known; `starts` holds its phases' beginnings in
            epoch seconds.
    """

    def __init__(
        self,
        worker: str,
        device: torch.device,
        window: OperatorWindow | None,
        report: Callable[[StepTime, dict[str, float]], None],
    ) -> None:
        self._worker = worker
        self._cuda = device.type == "cuda"
        self._window = window
        self._report = report
        self._pending: deque[_Step] = deque()
        self._step: _Step | None = None

    def begin_step(self, mode: str, number: int) -> None:
        """Start the clock."""
        if mode == "TRAIN" and self._window is not None:
            self._window.before(number)
        self._step = _Step(number, mode, time.time(), time.perf_counter(), time.process_time())

    def add_own_time(self, seconds: float) -> None:
        """Time that the debugger took: it is part of the step, and of no phase."""
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
        """Stop the clock, and report the steps whose times are known."""
        step, self._step = self._step, None
        if step is None:
            return
        step.total = time.perf_counter() - step.began
        step.cpu = time.process_time() - step.cpu
        self._pending.append(step)
        while self._pending and (len(self._pending) > MAX_PENDING or self._ready(self._pending[0])):
            self._write(self._pending.popleft())
        if step.mode == "TRAIN" and self._window is not None:
            self._window.after(step.number)

    def close(self) -> None:
        """Report everything that is left."""
        if self._window is not None:
            self._window.close()
        if self._cuda and self._pending:
            torch.cuda.synchronize()
        while self._pending:
            self._write(self._pending.popleft())

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
        times = {**{f"{name}_ms": value for name, value in seconds.items()}, "other_ms": max(other, 0.0)}
        self._report(
            StepTime(
                worker=self._worker,
                step=step.number,
                mode=step.mode,
                start=step.epoch,
                total=step.total * 1e3,
                phases=tuple(times.get(name, 0.0) * 1e3 for name in PHASES),
                cpu=step.cpu * 1e3,
            ),
            {f"{name}_ms": step.epoch + begun - step.began for name, begun in step.starts.items()},
        )


class OperatorWindow:
    """`steps` steps from `start` on under `torch.profiler`, once in a training.

    Writes `<worker>-step<n>.json` to `folder`, a trace that Perfetto opens, and `…-operators.json`, the
    operators that took longest; `report` takes these too, with where they are from.
    """

    def __init__(
        self,
        folder: Path,
        worker: str,
        start: int,
        steps: int,
        *,
        cuda: bool,
        report: Callable[[str, list[dict[str, Any]]], None] = lambda source, rows: None,
    ) -> None:
        self._start: int | None = start
        self._steps = steps
        self._folder = folder
        self._worker = worker
        self._cuda = cuda
        self._report = report
        self._profile: Any = None

    def before(self, number: int) -> None:
        """Open the window if `number` is its first step."""
        if self._start is None or self._profile is not None or number < self._start:
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
        (self._folder / f"{stem}-operators.json").write_text(json.dumps(rows[:MAX_OPERATORS]))
        self._report(stem, rows[:MAX_OPERATORS])
