"""What Hyperband did: after how many epochs it stopped trials, and what that saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from report import words
from report.read import jobs
from report.read.aws import Clients
from report.read.jobs import UNDER_WAY
from report.read.trials import Trial
from report.read.tuning import LOGS_LIMIT, TuningJob
from report.read.values import mapping


@dataclass(frozen=True)
class Rung:
    """Trials that ended after so many epochs; `best`: the best of them, by the job's objective."""

    epochs: int
    trials: tuple[Trial, ...]
    best: Trial | None


@dataclass(frozen=True)
class Rungs:
    """`most`: the epochs of a trial that nothing stops. The rungs have the shortest trials first."""

    most: int
    rungs: tuple[Rung, ...]

    @property
    def trials(self) -> int:
        return sum(len(rung.trials) for rung in self.rungs)

    @property
    def epochs(self) -> int:
        return sum(rung.epochs * len(rung.trials) for rung in self.rungs)

    @property
    def sentence(self) -> str:
        """`Hyperband ran 41 of 81 epochs (49 % saved): 5 trials ended after 1, 2 after 3, 2 after all 9.`"""
        whole = self.most * self.trials
        saved = words.percent(1 - self.epochs / whole, 0) if whole else "nothing"
        parts = []
        for place, rung in enumerate(self.rungs):
            noun = f"{words.plural(len(rung.trials), 'trial')} ended" if not place else f"{len(rung.trials)}"
            parts.append(f"{noun} after {'all ' if rung.epochs == self.most else ''}{rung.epochs}")
        return f"Hyperband ran {self.epochs} of {whole} epochs ({saved} saved): {', '.join(parts)}."


def read(clients: Clients, job: TuningJob) -> Rungs | None:
    """The rungs of a Hyperband job: a request for each trial that has ended.

    None for another strategy, or where there are too many trials or nothing is known of their epochs.
    """
    if job.config.get("Strategy") != "Hyperband" or len(job.trials) > LOGS_LIMIT:
        return None
    ended = [trial for trial in job.trials if trial.status not in UNDER_WAY]
    epochs = {trial.name: _epochs(jobs.metrics(jobs.describe(clients, trial.name))) for trial in ended}
    return arrange(job, {name: count for name, count in epochs.items() if count})


def arrange(job: TuningJob, epochs: Mapping[str, int]) -> Rungs | None:
    """The rungs, from how many epochs each trial has run, by name."""
    hyperband = mapping(mapping(job.config.get("StrategyConfig")).get("HyperbandStrategyConfig"))
    counted = [trial for trial in job.trials if trial.name in epochs]
    if not counted:
        return None
    most = max(int(hyperband.get("MaxResource", 0)), *epochs.values())
    rungs = []
    for count in sorted(set(epochs.values())):
        trials = tuple(trial for trial in counted if epochs[trial.name] == count)
        judged = [trial for trial in trials if trial in job.judged]
        rungs.append(Rung(count, trials, min(judged, key=job.rank, default=None)))
    return Rungs(most, tuple(rungs))


def _epochs(metrics: Mapping[str, float]) -> int:
    return int(metrics.get("epoch", 0))
