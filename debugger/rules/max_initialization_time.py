"""MaxInitializationTime: a job that takes too long to begin training."""

from __future__ import annotations

from contract.findings import Finding
from debugger.profile import Profile
from debugger.rules.rule import Rule


class MaxInitializationTime(Rule):
    """Fires when the first step has not come `threshold` minutes after the first sign of the job."""

    name = "MaxInitializationTime"
    needs = "step timings or measurements of the machine: switch the profiler on"

    def profile(self, profile: Profile) -> None:
        if profile.started is None:
            return
        self.seen = 1
        first = min((step.start for step in profile.steps), default=None)
        waited = (profile.now if first is None else first) - profile.started
        came = "No step came within" if first is None else "The first step came after"
        self.evidence = f"{came} {waited:.0f} s (limit {self.number('threshold'):g} minutes)."
        finding = Finding(
            step=None,
            tensor=None,
            severity="medium",
            message=self.evidence,
            cause="A download of data or weights inside the job, scanning very many files, or a loader that "
            "starts slowly.",
            remedy="Use a channel for what the job downloads, fewer and larger files, and check the job's "
            "log.",
        )
        self.replace(finding if waited > 60 * self.number("threshold") else None)
