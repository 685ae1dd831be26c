"""OverallSystemUsage: how busy the machine was. It reports and never fires, as AWS defines it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from debugger.profile import Profile, io_wait
from debugger.rules.rule import Rule
from debugger.rules.system import NEEDS


class OverallSystemUsage(Rule):
    """Percentiles of each kind of use over the whole job."""

    name = "OverallSystemUsage"
    needs = NEEDS

    def profile(self, profile: Profile) -> None:
        samples = profile.timeline()
        self.seen = len(samples)
        gpu_memory = [value for sample in samples for value in sample.gpu_memory.values()]
        parts = [
            _usage("CPU", [sample.cpu for sample in samples]),
            _usage("memory", [sample.memory for sample in samples]),
            _usage("I/O wait", [io_wait(sample) for sample in samples]),
            _usage("GPU", [sample.gpu for sample in samples]),
            _usage("GPU memory", gpu_memory),
        ]
        self.evidence = f"{len(samples)} samples; " + ", ".join(part for part in parts if part) + "."


def _usage(name: str, values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    middle, high = np.percentile(known, [50, 95])
    return f"{name} median {middle:.0f} % and p95 {high:.0f} %"
