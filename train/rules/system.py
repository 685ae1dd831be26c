"""What the rules on system metrics share: columns of samples, and the sentence for a job without a GPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from train.rules.profile import Profile, Sample, io_wait
from train.rules.rule import Parameter

Numbers = npt.NDArray[np.float64]
NO_GPU = "The job ran without a GPU, so this does not apply."
NEEDS = "system metrics: ask for them with ProfilerConfig (ProfilingIntervalInMilliseconds)"
SCAN = Parameter(60_000_000, least=1)


def after_patience(profile: Profile, patience: int) -> list[Sample]:
    """The samples without the first `patience`, in which a job starts up."""
    return profile.timeline()[patience:]


def paired(samples: list[Sample], kind: str) -> tuple[Numbers, Numbers]:
    """For the samples that have both: the mean of `kind` ("cpu" or "io") and the mean GPU use, in percent."""
    pairs = []
    for sample in samples:
        value = sample.cpu if kind == "cpu" else io_wait(sample)
        gpu = sample.gpu
        if value is not None and gpu is not None:
            pairs.append((value, gpu))
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def by_gpu(samples: list[Sample], *, memory: bool = False) -> dict[str, Numbers]:
    """Each GPU's use (or memory use) over time, in percent."""
    values: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in (sample.gpu_memory if memory else sample.gpus).items():
            values.setdefault(name, []).append(value)
    return {name: np.array(column, dtype=np.float64) for name, column in sorted(values.items())}
