"""OverallFrameworkMetrics: where the steps' time went. It reports and never fires, as AWS defines it."""

from __future__ import annotations

from debugger.profile import PHASES, Profile
from debugger.rules.rule import Rule


class OverallFrameworkMetrics(Rule):
    """The share of each phase in the time of all steps, by mode."""

    name = "OverallFrameworkMetrics"
    needs = "step timings: switch the profiler on"

    def profile(self, profile: Profile) -> None:
        self.seen = len(profile.steps)
        parts = []
        for mode in ("TRAIN", "EVAL"):
            total = profile.totals.get(mode)
            if total is None:
                continue
            shares = ", ".join(
                f"{phase.removesuffix('_ms').replace('_', ' ')} {100 * value / max(total.total, 1e-9):.0f} %"
                for phase, value in zip(PHASES, total.phases, strict=True)
                if value > 0.005 * total.total
            )
            own = total.total - sum(total.phases)
            if own > 0.005 * total.total:
                shares += f", the debugger's own work {100 * own / total.total:.0f} %"
            parts.append(
                f"{total.steps} {mode} steps of {total.total / total.steps:.1f} ms on average: {shares}"
            )
        self.evidence = "; ".join(parts)
