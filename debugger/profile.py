"""Step timings and the machine's use: what the profiler's rules judge and the report draws."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

PHASES = ("data_wait_ms", "host_to_device_ms", "forward_ms", "backward_ms", "optimizer_ms", "other_ms")
# Of a long training the older half of the steps, and neighbouring samples, are thinned when there are more.
MAX_STEPS = 100_000
MAX_SAMPLES = 8_000
USUAL_CORES = 16  # a sample of a machine with more takes more memory, so fewer are kept
# Metrics of one sampling round carry timestamps that differ by milliseconds.
BUCKETS_PER_SECOND = 10

Row = tuple[str, str, str, float]  # Type, Name, Dimension, Value, as AWS's files have them


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

    def add(self, name: str, dimension: str, value: float) -> None:
        """Take one metric; one of an unknown dimension is passed over."""
        if dimension in _BY_UNIT:
            unit = f"{self.node}/{name}" if dimension.startswith("GPU") else name
            getattr(self, _BY_UNIT[dimension])[unit] = value
        elif dimension == "MemoryUsedPercent":
            self.memory = value
        elif dimension in _SUMMED:
            attribute = _SUMMED[dimension]
            setattr(self, attribute, (getattr(self, attribute) or 0.0) + value)

    def mean_with(self, other: Sample) -> Sample:
        """One sample in the place of two."""
        merged = Sample(self.time, self.node)
        for attribute in _BY_UNIT.values():
            first, second = getattr(self, attribute), getattr(other, attribute)
            mean = {name: (value + second.get(name, value)) / 2 for name, value in first.items()}
            setattr(merged, attribute, {**second, **mean})
        for attribute in ("memory", *_SUMMED.values()):
            values = [x for x in (getattr(self, attribute), getattr(other, attribute)) if x is not None]
            setattr(merged, attribute, sum(values) / len(values) if values else None)
        return merged

    @property
    def cpu(self) -> float | None:
        """Mean over the cores."""
        return _mean(self.cores)

    @property
    def gpu(self) -> float | None:
        """Mean over the GPUs."""
        return _mean(self.gpus)


# Where a dimension of AWS's format goes in a sample.
_BY_UNIT = {
    "CPUUtilization": "cores",
    "GPUUtilization": "gpus",
    "GPUMemoryUtilization": "gpu_memory",
    "I/OWaitPercentage": "io_wait",
    "GPUPowerWatts": "gpu_power",
}
_SUMMED = {
    "ReceiveBytesPerSecond": "received",
    "TransmitBytesPerSecond": "sent",
    "ReadBytesPerSecond": "disk_read",
    "WriteBytesPerSecond": "disk_written",
}


@dataclass
class Total:
    """All steps of one mode together; times in milliseconds."""

    steps: int = 0
    total: float = 0.0
    phases: list[float] = field(default_factory=lambda: [0.0] * len(PHASES))


@dataclass
class Profile:
    """All that is known so far.

    Attributes:
        totals: of all steps by mode, those included that are no longer in `steps`.
        started: epoch seconds of the first sign of the job.
        operators: what torch.profiler saw, as name, calls, cpu_ms, device_ms.
        operators_from: which worker and step they were recorded from.
    """

    steps: list[StepTime] = field(default_factory=list)
    totals: dict[str, Total] = field(default_factory=dict)
    samples: dict[tuple[str, int], Sample] = field(default_factory=dict)
    started: float | None = None
    now: float = 0.0
    ended: bool = False
    dataloader_workers: int | None = None
    operators: list[dict[str, Any]] = field(default_factory=list)
    operators_from: str = ""

    def add_step(self, step: StepTime) -> None:
        """Add a step's times."""
        if len(self.steps) >= MAX_STEPS:
            half = len(self.steps) // 2
            self.steps = [*self.steps[:half:2], *self.steps[half:]]
        self.steps.append(step)
        total = self.totals.setdefault(step.mode, Total())
        total.steps += 1
        total.total += step.total
        for position, value in enumerate(step.phases):
            total.phases[position] += value
        self._first_sign(step.start)

    def add_metrics(self, node: str, when: float, rows: Iterable[Row]) -> None:
        """Add what was measured on a node at a moment, in epoch seconds."""
        key = self.key(node, when)
        sample = self.samples.get(key)
        if sample is None:
            sample = self.samples[key] = Sample(when, node)
        for _, name, dimension, value in rows:
            sample.add(name, dimension, value)
        self._first_sign(when)
        if len(self.samples) > max(500, MAX_SAMPLES * USUAL_CORES // max(USUAL_CORES, len(sample.cores))):
            self.merge_samples()

    @staticmethod
    def key(node: str, when: float) -> tuple[str, int]:
        """Where in `samples` a node's metrics of a moment are."""
        return node, int(when * BUCKETS_PER_SECOND)

    def merge_samples(self) -> None:
        """Make one of each two neighbours of a node."""
        kept: dict[tuple[str, int], Sample] = {}
        waiting: dict[str, tuple[tuple[str, int], Sample]] = {}
        for key in sorted(self.samples, key=lambda key: (key[1], key[0])):
            before = waiting.pop(key[0], None)
            if before is None:
                waiting[key[0]] = (key, self.samples[key])
            else:
                kept[before[0]] = before[1].mean_with(self.samples[key])
        kept.update(waiting.values())
        self.samples = kept

    def _first_sign(self, when: float) -> None:
        self.started = when if self.started is None else min(self.started, when)

    def timeline(self) -> list[Sample]:
        """The samples in order of time."""
        return [self.samples[key] for key in sorted(self.samples, key=lambda key: (key[1], key[0]))]

    @property
    def has_gpu(self) -> bool:
        """Whether any sample has a GPU."""
        return any(sample.gpus for sample in self.samples.values())


def io_wait(sample: Sample) -> float | None:
    """Mean I/O wait of a sample, in percent."""
    return _mean(sample.io_wait)


def _mean(values: dict[str, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None
