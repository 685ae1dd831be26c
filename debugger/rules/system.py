"""What the rules on system metrics share: a job's samples without its start, by GPU, if it has any."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from debugger.profile import Profile, Sample
from debugger.rules.rule import Rule

Numbers = npt.NDArray[np.float64]
NO_GPU = "The job ran without a GPU, so this does not apply."
NEEDS = "measurements of the machine: switch the profiler on"


class GPURule(Rule):
    """A rule on the samples of a job with a GPU; it judges all of them anew each time."""

    needs = NEEDS
    _without_gpu = False

    def profile(self, profile: Profile) -> None:
        self.seen = len(profile.samples)
        self.replace(None)
        self.lacking = ""
        self._without_gpu = bool(profile.samples) and not profile.has_gpu
        if profile.has_gpu:
            # A job starts up in the first `patience` samples.
            self.judge(profile.timeline()[self.integer("patience") :])

    def inapplicable(self) -> str:
        return NO_GPU if self._without_gpu else ""

    def judge(self, samples: list[Sample]) -> None:
        """Look at the samples, and say in `evidence` what they show."""
        raise NotImplementedError

    def lack(self, more: int = 1) -> None:
        """Too few samples: of the job's start, or fewer than `more` beyond it."""
        self.lacking = (
            f"the machine was measured {self.seen} times, and it takes {self.integer('patience') + more}, of "
            f"which {self.integer('patience')} are passed over at the start: train longer, measure more "
            "often (profiler.interval_ms), or lower patience"
        )


def by_gpu(samples: list[Sample], *, memory: bool = False) -> dict[str, Numbers]:
    """Each GPU's use (or memory use) over time, in percent."""
    values: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in (sample.gpu_memory if memory else sample.gpus).items():
            values.setdefault(name, []).append(value)
    return {name: np.array(column, dtype=np.float64) for name, column in sorted(values.items())}
