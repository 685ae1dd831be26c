"""The profiler's sampler: how busy the machine is, where no platform measures it.

SageMaker, and the local one, sample the machine of every profiled job themselves. For a training that is
started by hand, this writes the same files: `system/incremental/<YYYYMMDDHH>/<minute, epoch s>.<node>.json`.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pynvml

SHORTEST_MS = 100
Sample = tuple[str, str, str, float]  # Type, Name, Dimension, Value
log = logging.getLogger(__name__)


class SystemSampler:
    """A thread that writes this machine's use below `folder`, from entering to leaving."""

    def __init__(self, folder: Path, interval_ms: int, node: str = "algo-1") -> None:
        self._folder = folder / "system" / "incremental"
        self._interval = max(interval_ms, SHORTEST_MS) / 1000
        self._node = node
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system metrics", daemon=True)

    def __enter__(self) -> SystemSampler:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        list(cpu())  # psutil counts from the call before
        received, sent, before = *_bytes(), time.monotonic()
        gpus = _open_gpus()
        try:
            while not self._done.wait(self._interval):
                (received_before, sent_before), (received, sent) = (received, sent), _bytes()
                now = time.monotonic()
                seconds, before = now - before, now
                network = (
                    ("network", "eth0", "ReceiveBytesPerSecond", (received - received_before) / seconds),
                    ("network", "eth0", "TransmitBytesPerSecond", (sent - sent_before) / seconds),
                )
                memory = ("memory", "memory", "MemoryUsedPercent", psutil.virtual_memory().percent)
                self._write([*cpu(), memory, *network, *gpu(gpus)])
        except OSError as error:
            log.warning("system metrics end: %s", error)

    def _write(self, samples: list[Sample]) -> None:
        now = time.time()
        hour = self._folder / time.strftime("%Y%m%d%H", time.gmtime(now))
        hour.mkdir(exist_ok=True)
        keys = ("Type", "Name", "Dimension", "Value")
        with (hour / f"{int(now) // 60 * 60:010d}.{self._node}.json").open("a") as file:
            for sample in samples:
                line = dict(zip(keys, sample, strict=True)) | {"NodeId": self._node, "Timestamp": now}
                file.write(json.dumps(line) + "\n")


def cpu() -> Iterator[Sample]:
    """Each core's busy and I/O-waiting share since the last call, in percent."""
    for number, share in enumerate(psutil.cpu_times_percent(percpu=True)):
        yield "cpu", f"cpu{number}", "CPUUtilization", max(0.0, 100 - share.idle - share.iowait)
        yield "i/o", f"cpu{number}", "I/OWaitPercentage", share.iowait


def gpu(handles: list[pynvml.c_nvmlDevice_t]) -> Iterator[Sample]:
    """Each GPU's use and memory use, in percent."""
    for number, handle in enumerate(handles):
        try:
            rates, memory = (
                pynvml.nvmlDeviceGetUtilizationRates(handle),
                pynvml.nvmlDeviceGetMemoryInfo(handle),
            )
        except pynvml.NVMLError:
            continue
        yield "gpu", f"gpu{number}", "GPUUtilization", float(rates.gpu)
        yield "gpu", f"gpu{number}", "GPUMemoryUtilization", 100 * memory.used / memory.total


def _open_gpus() -> list[pynvml.c_nvmlDevice_t]:
    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:  # no GPU, or no driver
        return []


def _bytes() -> tuple[int, int]:
    """Received and sent so far by all cards but loopback."""
    cards = [card for name, card in psutil.net_io_counters(pernic=True).items() if name != "lo"]
    return sum(card.bytes_recv for card in cards), sum(card.bytes_sent for card in cards)
