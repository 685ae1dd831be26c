"""Dataloader: too few or too many loader processes for the machine, or a training that waits for its data."""

from __future__ import annotations

import numpy as np

from debugger.profile import Profile
from debugger.rules.rule import Rule

FIRST_STEPS = 2
WAITING = 20.0  # percent of the step
# Seconds in all, which a person would care about; a head alone waits a fifth of its second.
LEAST_WAITED = 10.0
LEAST_STEPS = 10


class Dataloader(Rule):
    """Fires when the loader's processes number less than `min_threshold` or more than `max_threshold` percent
    of the cores **and** training waits for its data for over a fifth of the time.

    AWS looks at the number of processes alone; one that keeps up with two is not a fault. Where their number
    is not known, the wait decides, if it was at least `LEAST_WAITED` seconds in all.
    """

    name = "Dataloader"
    needs = "step timings: switch the profiler on"

    def profile(self, profile: Profile) -> None:
        self.replace(None)
        steps = [step for step in profile.steps if step.mode == "TRAIN" and step.step >= FIRST_STEPS]
        self.seen, self.lacking = len(profile.steps), ""
        if len(steps) < LEAST_STEPS:
            self.lacking = (
                f"training steps timed after the first {FIRST_STEPS}, which are always slow: {len(steps)}, "
                f"and it takes {LEAST_STEPS}: train longer"
            )
            return
        total = float(np.sum([step.total for step in steps]))
        waited = float(np.sum([step.phases[0] for step in steps]))
        share = 100.0 * waited / max(total, 1e-9)
        workers = profile.dataloader_workers
        cores = max((len(sample.cores) for sample in profile.samples.values()), default=0)
        loaders = ""
        wrong = True
        if workers is not None and cores:
            percent = 100.0 * workers / cores
            loaders = f" with {workers} loader processes for {cores} cores"
            wrong = not self.number("min_threshold") <= percent <= self.number("max_threshold")
        self.evidence = (
            f"Over {len(steps)} steps training waited for data {share:.1f} % of the time{loaders} "
            f"(limit {WAITING:g} %)."
        )
        if share > WAITING and waited / 1e3 >= LEAST_WAITED and wrong:
            self.add(
                severity="high" if share > 50 else "medium",
                message=self.evidence,
                cause="Decoding or augmenting the pictures is slower than the training step, with too few "
                "loader processes or too many for the cores.",
                remedy="Set the number of loader workers to the number of cores, store pictures at the size "
                "that training uses, or cache the decoded ones.",
            )
