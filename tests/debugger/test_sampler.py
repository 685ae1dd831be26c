"""What the sampler writes is what the profiler's rules read."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from debugger.sampler import FileSampler
from debugger.smdebug_files.profile_reader import ProfileReader


def test_the_profilers_rules_read_what_the_sampler_writes(tmp_path: Path) -> None:
    reader = ProfileReader(tmp_path)
    with FileSampler(tmp_path, 100, "algo-2"):
        deadline = time.monotonic() + 20
        while len(reader.profile.samples) < 2 and time.monotonic() < deadline:
            reader.poll()
            time.sleep(0.01)
    reader.poll()
    first, *_, last = reader.profile.timeline()
    assert reader.skipped == 0
    assert first.node == "algo-2"
    assert len(last.cores) == psutil.cpu_count()
    assert all(0 <= use <= 100 for use in (*last.cores.values(), *last.io_wait.values()))
    assert last.memory is not None
    assert 0 < last.memory < 100
    assert last.received is not None
    assert last.received >= 0
    assert not last.gpus or all(0 <= use <= 100 for use in last.gpus.values())


def test_leaving_ends_it(tmp_path: Path) -> None:
    with FileSampler(tmp_path, 3_600_000):
        pass
    assert not list(tmp_path.glob("system/incremental/*/*"))
