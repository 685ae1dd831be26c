"""LoadBalancing: several GPUs that do not share the work evenly."""

from __future__ import annotations

import numpy as np

from debugger.profile import Sample
from debugger.rules.system import GPURule, by_gpu

BINS = 10


class LoadBalancing(GPURule):
    """Fires when the histograms of two GPUs' use are further apart than `threshold` (0 equal, 1 disjoint)."""

    name = "LoadBalancing"

    def judge(self, samples: list[Sample]) -> None:
        columns = by_gpu(samples)
        if not columns:
            self.lack()
            return
        if len(columns) < 2:
            self.evidence = "One GPU has nothing to share."
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
        self.evidence = (
            f"The most different GPUs of {len(names)} are {first} (mean {columns[first].mean():.0f} %) and "
            f"{second} (mean {columns[second].mean():.0f} %): distance {distance:.2f}, limit "
            f"{self.number('threshold'):g}."
        )
        if distance > self.number("threshold"):
            self.add(
                message=self.evidence,
                cause="Unequal shards, a rank that evaluates or logs alone, or one GPU that is not used at "
                "all.",
                remedy="Check that every rank gets equally many batches and that the job starts one rank "
                "per GPU.",
            )
