"""OverallFrameworkMetrics: where the steps' time went. It reports and never fires, as AWS defines it."""

from __future__ import annotations

import numpy as np

from train.rules.profile import PHASES, Profile
from train.rules.rule import Rule


class OverallFrameworkMetrics(Rule):
    """The share of each phase in the time of all steps, by mode."""

    name = "OverallFrameworkMetrics"
    source = (
        "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-profiler-rules.html"
        "#overall-framework-metrics"
    )
    looks_for = "nothing: it reports how a step's time divides"
    needs = "step timings: ask for them with ProfilerConfig"

    def profile(self, profile: Profile) -> None:
        self.seen = len(profile.steps)
        parts = []
        for mode in ("TRAIN", "EVAL"):
            steps = [step for step in profile.steps if step.mode == mode]
            if not steps:
                continue
            total = float(np.sum([step.total for step in steps]))
            phases = np.array([step.phases for step in steps]).sum(axis=0)
            shares = ", ".join(
                f"{phase.removesuffix('_ms').replace('_', ' ')} {100 * value / max(total, 1e-9):.0f} %"
                for phase, value in zip(PHASES, phases, strict=True)
                if value > 0.005 * total
            )
            hook = total - float(phases.sum())
            if hook > 0.005 * total:
                shares += f", the debugger's own work {100 * hook / total:.0f} %"
            parts.append(f"{len(steps)} {mode} steps of {total / len(steps):.1f} ms on average: {shares}")
        self.evidence = "; ".join(parts)
