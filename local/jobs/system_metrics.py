"""System metrics of a job's machine, in the files that SageMaker's profiler writes.

`system/incremental/<YYYYMMDDHH>/<minute, epoch s>.<node>.json`: one JSON object a line,
`{"Type": "cpu", "Name": "cpu0", "Dimension": "CPUUtilization", "Value": 4.76, "NodeId": …, "Timestamp": …}`
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from local.jobs.files import open_below
from local.jobs.services import log

DEFAULT_INTERVAL = 500  # ms, SageMaker's default
_SHORTEST = 100

Sample = tuple[str, str, str, float]  # Type, Name, Dimension, Value


class SystemSampler:
    """A thread that writes this machine's utilisation below `folder` until `close`.

    `base`: a folder above from which on no link is followed, by default `folder`.
    """

    def __init__(
        self, folder: Path, node: str, interval_ms: int = DEFAULT_INTERVAL, base: Path | None = None
    ) -> None:
        if base is None:
            folder.mkdir(parents=True, exist_ok=True)
        self._base = base or folder
        self._folder = folder / "system" / "incremental"
        self._node = node
        self._interval = max(_SHORTEST, interval_ms) / 1000
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"system metrics {node}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        gpus = Gpus()
        machine = Machine()
        try:
            next_time = time.monotonic() + self._interval
            while not self._done.wait(max(0.0, next_time - time.monotonic())):
                # A late sample is not made up for: after a pause the rate stays what it was.
                next_time = max(next_time + self._interval, time.monotonic())
                self._write([*machine.sample(), *gpus.sample()])
        except OSError as error:
            log.warning("system metrics of %s end: %s", self._folder, error)
        finally:
            gpus.close()

    def _write(self, samples: list[Sample]) -> None:
        now = time.time()
        hour = time.strftime("%Y%m%d%H", time.gmtime(now))
        path = self._folder / hour / f"{int(now) // 60 * 60:010d}.{self._node}.json"
        lines = [
            json.dumps(
                {
                    "Type": kind,
                    "Name": name,
                    "Dimension": dimension,
                    "Value": round(value, 3),
                    "NodeId": self._node,
                    "Timestamp": now,
                }
            )
            for kind, name, dimension, value in samples
        ]
        descriptor = open_below(self._base, path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, make=True)
        with os.fdopen(descriptor, "a") as file:
            file.write("".join(line + "\n" for line in lines))


class Machine:
    """CPU, memory, disk and network since the sample before."""

    def __init__(self) -> None:
        self._cpus = psutil.cpu_times(percpu=True)
        self._network, self._disk = self._bytes(), self._disk_bytes()
        self._time = time.monotonic()

    def sample(self) -> Iterator[Sample]:
        before, self._cpus = self._cpus, psutil.cpu_times(percpu=True)
        for number, (old, new) in enumerate(zip(before, self._cpus, strict=False)):
            busy, waiting = _shares(old, new)
            yield "cpu", f"cpu{number}", "CPUUtilization", busy
            yield "i/o", f"cpu{number}", "I/OWaitPercentage", waiting
        yield "memory", "memory", "MemoryUsedPercent", psutil.virtual_memory().percent
        now = time.monotonic()
        network, disk = self._bytes(), self._disk_bytes()
        seconds = max(now - self._time, 1e-3)
        for dimension, old_bytes, new_bytes in zip(
            ("ReceiveBytesPerSecond", "TransmitBytesPerSecond"), self._network, network, strict=True
        ):
            yield "network", "eth0", dimension, max(0, new_bytes - old_bytes) / seconds
        # SageMaker's own agent has no disk; its readers take any type.
        for dimension, old_bytes, new_bytes in zip(
            ("ReadBytesPerSecond", "WriteBytesPerSecond"), self._disk, disk, strict=True
        ):
            yield "disk", "disk", dimension, max(0, new_bytes - old_bytes) / seconds
        self._network, self._disk, self._time = network, disk, now

    @staticmethod
    def _disk_bytes() -> tuple[int, int]:
        counters = psutil.disk_io_counters()  # None where the machine shows no disks
        return (counters.read_bytes, counters.write_bytes) if counters else (0, 0)

    @staticmethod
    def _bytes() -> tuple[int, int]:
        # Without loopback: in process mode that is this service talking to its own jobs.
        cards = {name: io for name, io in psutil.net_io_counters(pernic=True).items() if name != "lo"}
        return sum(io.bytes_recv for io in cards.values()), sum(io.bytes_sent for io in cards.values())


def _shares(old: Any, new: Any) -> tuple[float, float]:
    """Busy and I/O-waiting share of one core in percent, from two readings of its times."""
    passed = {field: getattr(new, field) - getattr(old, field) for field in new._fields}
    # Linux counts guest time in user time already.
    total = sum(value for field, value in passed.items() if field not in ("guest", "guest_nice"))
    if total <= 0:
        return 0.0, 0.0
    waiting = passed.get("iowait", 0.0)
    busy = total - passed["idle"] - waiting
    return _percent(busy / total), _percent(waiting / total)


def _percent(share: float) -> float:
    return min(100.0, max(0.0, 100 * share))


class Gpus:
    """NVIDIA GPUs through their driver's library; none where there is none."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        try:
            import pynvml
        except ImportError:
            return
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError:
            self._handles = []

    def sample(self) -> Iterator[Sample]:
        for number, handle in enumerate(self._handles):
            try:
                rates = self._nvml.nvmlDeviceGetUtilizationRates(handle)
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            except self._nvml.NVMLError:
                continue
            yield "gpu", f"gpu{number}", "GPUUtilization", float(rates.gpu)
            yield "gpu", f"gpu{number}", "GPUMemoryUtilization", 100 * memory.used / max(1, memory.total)
            try:  # not every GPU tells
                power = self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000
            except self._nvml.NVMLError:
                continue
            yield "gpu", f"gpu{number}", "GPUPowerWatts", power

    def close(self) -> None:
        if self._handles:
            self._handles = []
            self._nvml.nvmlShutdown()
