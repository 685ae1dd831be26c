"""LoadBalancing: several GPUs that do not share the work evenly."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from train.rules.profile import Profile
from train.rules.rule import Parameter, Rule
from train.rules.system import NEEDS, NO_GPU, after_patience, by_gpu

BINS = 10


class LoadBalancing(Rule):
    """Fires when the histograms of two GPUs' use are further apart than `threshold` (0 equal, 1 disjoint)."""

    name = "LoadBalancing"
    source = (
        "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-profiler-rules.html#load-balancing"
    )
    looks_for = "GPUs of which some work while others wait"
    needs = NEEDS
    parameters: ClassVar = {
        "threshold": Parameter(0.5, least=0.0, most=1.0),
        "patience": Parameter(10, least=0),
    }

    def __init__(self, raw: dict[str, object] | None = None) -> None:
        super().__init__(raw)
        self._summary = ""

    def profile(self, profile: Profile) -> None:
        self.seen = len(profile.samples)
        self.replace(None)
        if not profile.has_gpu:
            self._summary = NO_GPU
            return
        columns = by_gpu(after_patience(profile, self.integer("patience")))
        if len(columns) < 2:
            self._summary = "One GPU has nothing to share."
            return
        shares = {
            name: np.histogram(use, bins=BINS, range=(0.0, 100.0))[0] / use.size
            for name, use in columns.items()
        }
        names = sorted(shares)
        # Half the sum of differences: the share of samples that would have to move to make them equal.
        distance, first, second = max(
            (float(np.abs(shares[a] - shares[b]).sum()) / 2, a, b)
            for index, a in enumerate(names)
            for b in names[index + 1 :]
        )
        self._summary = (
            f"The most different GPUs of {len(names)} are {first} (mean {columns[first].mean():.0f} %) and "
            f"{second} "
            f"(mean {columns[second].mean():.0f} %): distance {distance:.2f}, limit "
            f"{self.number('threshold'):g}."
        )
        if distance > self.number("threshold"):
            self.add(
                message=self._summary,
                cause="Unequal shards, a rank that evaluates or logs alone, or one GPU that is not used at "
                "all.",
                remedy="Check that every rank gets equally many batches and that the job starts one rank "
                "per GPU.",
            )

    def summary(self) -> str:
        return self._summary
