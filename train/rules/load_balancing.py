"""LoadBalancing: several GPUs that do not share the work evenly."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from train.rules.profile import Sample
from train.rules.rule import Parameter
from train.rules.system import GPURule, by_gpu

BINS = 10


class LoadBalancing(GPURule):
    """Fires when the histograms of two GPUs' use are further apart than `threshold` (0 equal, 1 disjoint)."""

    name = "LoadBalancing"
    source = (
        "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-profiler-rules.html#load-balancing"
    )
    looks_for = "GPUs of which some work while others wait"
    parameters: ClassVar = {
        "threshold": Parameter(0.5, least=0.0, most=1.0),
        "patience": Parameter(10, least=0),
    }

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
            f"{second} "
            f"(mean {columns[second].mean():.0f} %): distance {distance:.2f}, limit "
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
