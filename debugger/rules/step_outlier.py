"""StepOutlier: steps that take far longer than the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from debugger.profile import PHASES, Profile, StepTime
from debugger.rules.rule import Rule

Numbers = npt.NDArray[np.float64]
FIRST_STEPS = 2  # allocations and compilation make the first ones slow in every job
LEAST_STEPS = 20
LEAST_COST = 0.05
LEAST_OUTLIERS = 2  # so many can happen on any machine
NEAR = 5  # steps to each side, with which a step is compared: what lasts longer than these is no outlier
# A step during which the machine was this busy, and the training had less than this share of it, was held up
# by other processes.
BUSY_PERCENT = 90.0
OWN_SHARE = 0.6


class Crowd:
    """Finds whether other processes held a step up: the cores were busy, but not with the training."""

    def __init__(self, profile: Profile) -> None:
        samples = [sample for sample in profile.timeline() if sample.cores]
        self._cores = max((len(sample.cores) for sample in samples), default=0)
        self._times = np.array([sample.time for sample in samples])
        self._busy = np.array([sample.cpu for sample in samples], dtype=np.float64)
        # While the job runs, steps are known before the samples that show whether they were held up.
        self.until = float(self._times[-1]) if samples and not profile.ended else np.inf

    def held_up(self, step: StepTime) -> bool:
        """False too where it cannot be known."""
        if step.cpu is None or not self._cores or step.cpu > OWN_SHARE * step.total * self._cores:
            return False
        # A sample covers the time since the one before it.
        first = int(np.searchsorted(self._times, step.start))
        last = int(np.searchsorted(self._times, step.start + step.total / 1e3))
        during = self._busy[first : last + 1]
        return bool(during.size) and float(during.mean()) >= BUSY_PERCENT


def _level(values: Numbers) -> Numbers:
    """For each step, the median of the steps around it; the ends are mirrored."""
    padded = np.pad(values, [(NEAR, NEAR)] + [(0, 0)] * (values.ndim - 1), mode="symmetric")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEAR + 1, axis=0)
    return np.asarray(np.median(around, axis=-1), dtype=np.float64)


class StepOutlier(Rule):
    """Fires when over `n_outliers` steps are longer than the mean by `stddev` standard deviations.

    What steps cost may change for good, as when a backbone joins its head. So each is measured
    by its excess over the median of the steps around it. One stalled step in fifty raises the deviation
    itself so far that no number of them lies 5 beyond. So a step also counts when its excess is over 5 robust
    deviations (1.4826 times the median absolute deviation) and the step three times as long as that median.
    So that a short job can fire, at most 1 % of
    its steps are tolerated; so that a busy machine's hiccups do not, the outliers must cost at least
    `LEAST_COST` of the time of all steps, evaluations too. The debugger's own work in a step is left out,
    and steps during which other processes had the machine's cores are counted apart.
    """

    name = "StepOutlier"
    needs = "step timings: switch the profiler on"

    def profile(self, profile: Profile) -> None:
        self.seen = len(profile.steps)
        self.replace(None)
        wanted = self.text("mode").upper().removeprefix("MODEKEYS.")
        self._crowd, self._ended = Crowd(profile), profile.ended
        groups: dict[tuple[str, str], list[StepTime]] = {}
        spent: dict[str, float] = {}
        for step in profile.steps:
            spent[step.worker] = spent.get(step.worker, 0.0) + step.total
            over = step.start + step.total / 1e3 <= self._crowd.until
            if over and (not wanted or step.mode == wanted) and step.step >= FIRST_STEPS:
                groups.setdefault((step.worker, step.mode), []).append(step)
        parts = []
        for (worker, mode), steps in sorted(groups.items()):
            if len(steps) >= LEAST_STEPS:
                parts.append(self._judge(worker, mode, steps, spent[worker]))
        self.evidence = "; ".join(parts)
        most = max(map(len, groups.values()), default=0)
        self.lacking = (
            ""
            if parts
            else f"steps timed after the first {FIRST_STEPS}, which are always slow: {most}, and it takes "
            f"{LEAST_STEPS}: train longer"
        )

    def _judge(self, worker: str, mode: str, steps: list[StepTime], spent: float) -> str:
        total = np.array([sum(step.phases) or step.total for step in steps])
        factor = self.number("stddev")
        level = _level(total)
        excess = total - level
        robust = 1.4826 * float(np.median(np.abs(excess)))
        far = excess > float(excess.mean()) + factor * float(excess.std())
        far |= (excess > factor * robust) & (total > 3 * level)
        if not self._ended:
            far[-NEAR:] = False  # what comes next shows whether the change lasts
        outliers = np.flatnonzero(far)
        crowded = [index for index in outliers if self._crowd.held_up(steps[index])]
        outliers = np.setdiff1d(outliers, crowded)
        tolerated = min(self.integer("n_outliers"), max(LEAST_OUTLIERS, len(steps) // 100))
        text = (
            f"{mode} on {worker}: {outliers.size} of {len(steps)} steps are outliers (median "
            f"{float(np.median(total)):.1f} ms, longest {float(total.max()):.1f} ms, tolerated {tolerated})"
        )
        if crowded:
            text += f", {len(crowded)} more while other processes had the machine's cores"
        lost = float(np.sum(excess[outliers])) / max(spent, 1e-9)
        if outliers.size > tolerated and lost >= LEAST_COST:
            longest = [steps[index] for index in outliers[np.argsort(-total[outliers])][:5]]
            where = ", ".join(f"{step.step} ({step.total:.0f} ms)" for step in longest)
            phases = np.array([step.phases for step in steps])
            extra = (phases - _level(phases))[outliers].mean(axis=0)
            phase = PHASES[int(extra.argmax())].removesuffix("_ms").replace("_", " ")
            self.add(
                step=longest[0].step,
                severity="high" if outliers.size > 0.05 * len(steps) else "medium",
                message=f"{text}. The longest: {where}. Most of the extra time is {phase}.",
                cause="Checkpoints or evaluations inside a step, a loader that runs dry, garbage "
                "collection, or other work on the machine.",
                remedy="Look at what happens at these steps; keep saving and logging out of the training "
                "step, give the loader more workers, and the training a machine of its own.",
            )
        return text
