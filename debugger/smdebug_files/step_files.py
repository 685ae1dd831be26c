"""Step times in files, where a job brings a ProfilerConfig: a line for each step, and smdebug's trace events.

`framework/steps/<host>-<rank>.jsonl` is what our rules read beside such a job; `framework/pevents/` is what
smdebug's own readers read.
"""

from __future__ import annotations

import json
import time
from typing import IO

from debugger.profile import PHASES, StepTime
from debugger.smdebug_files.config import ProfilerSettings
from debugger.smdebug_files.trace import TraceWriter

FLUSH_SECONDS = 2.0
_TRACE_NAMES = {
    "data_wait_ms": "DataWait",
    "host_to_device_ms": "HostToDevice",
    "forward_ms": "Forward",
    "backward_ms": "Backward(post-forward)",
    "optimizer_ms": "Optimizer",
}


class StepFiles:
    """Writes below the profiler's LocalPath."""

    def __init__(self, settings: ProfilerSettings, host: str, rank: int) -> None:
        folder = settings.local_path / "framework" / "steps"
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = (folder / f"{host}-{rank}.jsonl").open("a")
        self._trace = TraceWriter(
            settings.local_path, f"{rank}-{host}", settings.rotate_bytes, settings.rotate_seconds
        )
        self._flushed = time.monotonic()

    def add(self, step: StepTime, starts: dict[str, float]) -> None:
        """Write one step; `starts` are its phases' beginnings in epoch seconds."""
        record = {"step": step.step, "mode": step.mode, "start": round(step.start, 6)}
        times = dict(zip(PHASES, step.phases, strict=True))
        own = step.total - sum(step.phases)
        for name, value in {"total_ms": step.total, **times, "hook_ms": max(own, 0.0)}.items():
            record[name] = round(value, 3)
        record["cpu_ms"] = round(step.cpu or 0.0, 3)
        self._file.write(json.dumps(record) + "\n")
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self._flushed = time.monotonic()
            self._file.flush()
        arguments = {"step_num": str(step.step)}
        mode = f"Step:ModeKeys.{step.mode}"
        self._trace.add(mode, mode, step.start, step.total / 1e3, arguments)
        for name, trace_name in _TRACE_NAMES.items():
            if times[name] and name in starts:
                self._trace.add(trace_name, trace_name, starts[name], times[name] / 1e3, arguments)

    def close(self) -> None:
        """Write what is left."""
        self._trace.rotate()
        self._file.close()
