"""How busy the machine is: cores, memory, disk, network and GPUs.

In a training, `debugger.watcher` takes the samples. For a training of another image, `rules
--sample-system` writes them in AWS's files, `system/incremental/<YYYYMMDDHH>/<minute, epoch
s>.<node>.json`, one JSON object a line: `{"Type": "cpu", "Name": "cpu0", "Dimension": "CPUUtilization",
"Value": 4.76, "NodeId": …, "Timestamp": …}`
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from debugger.profile import Row

SHORTEST_MS = 100
log = logging.getLogger("train.debugger")


class Machine:
    """Measures this machine; shares and rates are those since the sample before."""

    def __init__(self) -> None:
        self._cores = psutil.cpu_times(percpu=True)
        self._network, self._disk, self._time = _network_bytes(), _disk_bytes(), time.monotonic()
        self._gpus = Gpus()

    def sample(self) -> list[Row]:
        """One row for each metric: percent, bytes a second, or watts."""
        return [*self._cpu(), *self._traffic(), *self._gpus.sample()]

    def close(self) -> None:
        """Let the GPUs' driver go."""
        self._gpus.close()

    def _cpu(self) -> Iterator[Row]:
        before, self._cores = self._cores, psutil.cpu_times(percpu=True)
        for number, (old, new) in enumerate(zip(before, self._cores, strict=False)):
            busy, waiting = _shares(old, new)
            yield "cpu", f"cpu{number}", "CPUUtilization", busy
            yield "i/o", f"cpu{number}", "I/OWaitPercentage", waiting
        yield "memory", "memory", "MemoryUsedPercent", psutil.virtual_memory().percent

    def _traffic(self) -> Iterator[Row]:
        now, network, disk = time.monotonic(), _network_bytes(), _disk_bytes()
        seconds = max(now - self._time, 1e-3)
        # AWS's own agent has no disk; its readers take any type.
        for kind, name, dimensions, before, after in (
            ("network", "eth0", ("ReceiveBytesPerSecond", "TransmitBytesPerSecond"), self._network, network),
            ("disk", "disk", ("ReadBytesPerSecond", "WriteBytesPerSecond"), self._disk, disk),
        ):
            for dimension, old, new in zip(dimensions, before, after, strict=True):
                yield kind, name, dimension, max(0, new - old) / seconds
        self._network, self._disk, self._time = network, disk, now


class Gpus:
    """NVIDIA's GPUs through their driver's library; none where there is none."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        try:
            import pynvml

            self._nvml = pynvml
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except Exception:  # no library, no driver, or one that answers otherwise: there is nothing to measure
            self._handles = []

    def sample(self) -> Iterator[Row]:
        for number, handle in enumerate(self._handles):
            with suppress(self._nvml.NVMLError):
                rates = self._nvml.nvmlDeviceGetUtilizationRates(handle)
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
                yield "gpu", f"gpu{number}", "GPUUtilization", float(rates.gpu)
                yield "gpu", f"gpu{number}", "GPUMemoryUtilization", 100 * memory.used / max(1, memory.total)
                # Last, as not every GPU measures it.
                power = self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000
                yield "gpu", f"gpu{number}", "GPUPowerWatts", power

    def close(self) -> None:
        if self._handles:
            self._handles = []
            self._nvml.nvmlShutdown()


class FileSampler:
    """A thread that writes this machine's use below `folder`, from entering to leaving."""

    def __init__(self, folder: Path, interval_ms: int, node: str = "algo-1") -> None:
        self._folder = folder / "system" / "incremental"
        self._interval = max(interval_ms, SHORTEST_MS) / 1000
        self._node = node
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system metrics", daemon=True)

    def __enter__(self) -> FileSampler:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        machine = Machine()
        due = time.monotonic() + self._interval
        try:
            while not self._done.wait(max(0.0, due - time.monotonic())):
                # A late sample is not made up for: after a pause the rate stays what it was.
                due = max(due + self._interval, time.monotonic())
                self._write(machine.sample())
        except OSError as error:
            log.warning("the machine is no longer measured: %s", error)
        finally:
            machine.close()

    def _write(self, rows: list[Row]) -> None:
        now = time.time()
        hour = self._folder / time.strftime("%Y%m%d%H", time.gmtime(now))
        hour.mkdir(exist_ok=True)
        with (hour / f"{int(now) // 60 * 60:010d}.{self._node}.json").open("a") as file:
            for kind, name, dimension, value in rows:
                line = {"Type": kind, "Name": name, "Dimension": dimension, "Value": round(value, 3)}
                file.write(json.dumps({**line, "NodeId": self._node, "Timestamp": now}) + "\n")


def _disk_bytes() -> tuple[int, int]:
    counters = psutil.disk_io_counters()  # None where the machine shows no disks
    return (counters.read_bytes, counters.write_bytes) if counters else (0, 0)


def _network_bytes() -> tuple[int, int]:
    """Received and sent so far by all cards but loopback, over which processes of one machine talk."""
    cards = [card for name, card in psutil.net_io_counters(pernic=True).items() if name not in ("lo", "lo0")]
    return sum(card.bytes_recv for card in cards), sum(card.bytes_sent for card in cards)


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
