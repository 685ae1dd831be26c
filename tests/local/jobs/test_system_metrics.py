from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local.jobs.system_metrics import Gpus, Machine, SystemSampler


def sampled(folder: Path, seconds: float = 10) -> Path:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for file in folder.glob("system/incremental/*/*.json"):
            if file.stat().st_size:
                return file
        time.sleep(0.01)
    raise AssertionError("no sample")


def test_samples_lie_where_the_profiler_puts_them(tmp_path: Path) -> None:
    sampler = SystemSampler(tmp_path, "algo-1", 100)
    file = sampled(tmp_path)
    sampler.close()
    assert re.fullmatch(
        r"\d{10}/\d{10}\.algo-1\.json", str(file.relative_to(tmp_path / "system/incremental"))
    )
    assert int(file.name[:10]) % 60 == 0


@pytest.mark.slow
def test_smdebugs_reader_reads_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    readers: Any = pytest.importorskip("smdebug.profiler.system_metrics_reader", exc_type=ImportError)
    begin = time.time()
    sampler = SystemSampler(tmp_path, "algo-1", 100)
    sampled(tmp_path)
    sampler.close()
    reader = readers.LocalSystemMetricsReader(str(tmp_path))
    end = (time.time() + 60) * 1e6
    events = reader.get_events((begin - 60) * 1e6, end)
    dimensions = {event.dimension for event in events}
    assert dimensions >= {
        "CPUUtilization",
        "I/OWaitPercentage",
        "MemoryUsedPercent",
        "ReceiveBytesPerSecond",
        "TransmitBytesPerSecond",
        "ReadBytesPerSecond",
        "WriteBytesPerSecond",
    }
    assert {event.type for event in events} >= {"cpu", "i/o", "memory", "network", "disk"}
    assert all(abs(event.timestamp - time.time()) < 60 for event in events)


def test_the_shares_are_those_since_the_last_sample() -> None:
    machine = Machine()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        sum(range(1000))
    samples = list(machine.sample())
    busiest = max(value for _, _, dimension, value in samples if dimension == "CPUUtilization")
    assert busiest > 50
    assert all(0 <= value <= 100 for kind, _, _, value in samples if kind not in ("network", "disk"))


def test_gpus_are_read_through_their_drivers_library(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    def power(handle: int) -> int:
        if handle == 1:
            raise NVMLError("not supported")
        return 250_500

    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=70 + handle),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=20, total=80),
        nvmlDeviceGetPowerUsage=power,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    gpus = Gpus()
    assert list(gpus.sample()) == [
        ("gpu", "gpu0", "GPUUtilization", 70.0),
        ("gpu", "gpu0", "GPUMemoryUtilization", 25.0),
        ("gpu", "gpu0", "GPUPowerWatts", 250.5),
        ("gpu", "gpu1", "GPUUtilization", 71.0),
        ("gpu", "gpu1", "GPUMemoryUtilization", 25.0),
    ]
    gpus.close()
