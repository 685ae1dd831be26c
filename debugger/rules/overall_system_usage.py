"""OverallSystemUsage: how busy the machine was. It reports and never fires, as AWS defines it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from debugger.profile import Profile, Sample, StepTime, io_wait
from debugger.rules.rule import Rule
from debugger.rules.system import NEEDS

MUCH = 0.25  # of the cores


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
        self.evidence += _others(profile, samples)


def _others(profile: Profile, samples: Sequence[Sample]) -> str:
    """How many cores the training had during its steps, and how many other programs; of one machine only.

    A training on a busy machine is slow for a reason that no setting of its own can mend.
    """
    workers: dict[str, list[StepTime]] = {}
    for step in profile.steps:
        if step.cpu is not None:
            workers.setdefault(step.worker, []).append(step)
    if not workers or len({sample.node for sample in samples}) != 1:
        return ""
    first = min(step.start for steps in workers.values() for step in steps)
    last = max(step.start + step.total / 1e3 for steps in workers.values() for step in steps)
    during = [sample for sample in samples if sample.cores and first <= sample.time <= last]
    if not during:
        return ""
    own = sum(
        sum(step.cpu or 0.0 for step in steps) / max(sum(step.total for step in steps), 1e-9)
        for steps in workers.values()
    )
    cores = max(len(sample.cores) for sample in during)
    busy = float(np.mean([sample.cpu for sample in during])) / 100 * cores
    others = max(0.0, busy - own)
    text = f" In its steps the training used {own:.1f} of {cores} cores, other programs {others:.1f}."
    if others >= max(MUCH * cores, 0.5):
        text += " It would be faster without them."
    return text


def _usage(name: str, values: Sequence[float | None]) -> str:
    measured = [value for value in values if value is not None]
    if not measured:
        return ""
    middle, high = np.percentile(measured, [50, 95])
    return f"{name} median {middle:.0f} % and p95 {high:.0f} %"
