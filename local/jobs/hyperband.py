"""Hyperband: how far a trial may go before it has to be among the best, and which trials are stopped there.

AWS documents MinResource, MaxResource and that the objective of each epoch decides, but not how. Here it is
asynchronous (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning"): no trial waits at a
rung for others, and no slot is empty. A resource is one value of the objective.

The first epochs may mislead. So trials come in brackets (Li et al. 2018, "Hyperband"): those of the first
are judged at every rung, those of the next not at the lowest one, and so on; each bracket has as many epochs.
And who is at a rung as good as the best trial was there goes on: a rule that the winner breaks is a bad one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

REDUCTION = 3  # of so many trials at a rung, one goes on
MOST_RESOURCE = 20_000  # AWS's
# Static hyperparameters that AWS takes MaxResource from.
EPOCHS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")


class ResourceProblem(Exception):
    """MinResource and MaxResource that make no sense; the text says why."""


def resources(tuning: Mapping[str, Any], static: Mapping[str, str]) -> tuple[int, int]:
    """MinResource and MaxResource of a tuning job's configuration, for a definition's hyperparameters."""
    limits = tuning.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
    least, most = limits.get("MinResource", 1), limits.get("MaxResource") or own_epochs(static)
    if most is None:
        raise ResourceProblem(
            "HyperbandStrategyConfig.MaxResource is missing, and StaticHyperParameters has none of "
            f"{', '.join(EPOCHS)} to take it from: give one."
        )
    if most > MOST_RESOURCE:
        raise ResourceProblem(f"HyperbandStrategyConfig.MaxResource {most} is above {MOST_RESOURCE}.")
    if least >= most:
        raise ResourceProblem(
            f"HyperbandStrategyConfig.MinResource {least} must be below MaxResource {most}."
        )
    return least, most


def own_epochs(static: Mapping[str, str]) -> int | None:
    """The epochs in a job's hyperparameters; SageMaker's SDK puts numbers in quotes."""
    for name in EPOCHS:
        text = static.get(name, "").strip('"')
        if text.isascii() and text.isdecimal() and int(text) >= 1:
            return int(text)
    return None


def rungs(least: int, most: int) -> tuple[int, ...]:
    """The epochs after which trials are compared: MinResource, three times that, …, below MaxResource."""
    levels = []
    while least < most:
        levels.append(least)
        least *= REDUCTION
    return tuple(levels)


@dataclass
class Climber:
    """One trial on the ladder: its bracket, and how many of its values are judged."""

    bracket: int
    judged: int = 0


@dataclass
class Ladder:
    """The results of a definition's trials at each rung, in the order in which they came.

    `most`: MaxResource. `cut`: whether a trial is stopped there; not where its own epochs end it by then.
    """

    levels: Sequence[int]
    most: int
    maximize: bool
    cut: bool = False
    results: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    best: tuple[float, Mapping[int, float]] | None = None
    """Of the trials that ran to their end, the best objective, and that trial's values at the rungs."""
    started: list[int] = field(default_factory=list)

    def begin(self) -> Climber:
        """A new trial, in the bracket that has had the smallest share of the epochs."""
        if not self.started:
            self.started = [0] * max(1, len(self.levels))
        costs = [(count + 1) * self._cost(bracket) for bracket, count in enumerate(self.started)]
        bracket = costs.index(min(costs))
        self.started[bracket] += 1
        return Climber(bracket)

    def _cost(self, bracket: int) -> float:
        """Epochs of a trial, if one of three goes on at each rung."""
        ends = [*self.levels[bracket:], self.most]
        lengths = [ends[0], *(later - earlier for earlier, later in pairwise(ends))]
        return sum(length / float(REDUCTION) ** place for place, length in enumerate(lengths))

    def passes(self, bracket: int, level: int, value: float) -> bool:
        """Whether a trial goes on from a rung: in the best third of its bracket, or as good as the best."""
        there = self.results.setdefault((bracket, level), [])
        there.append(value)
        ahead = sum(self._better(other, value) for other in there)
        if ahead < max(1, len(there) // REDUCTION):
            return True
        return self.best is not None and not self._better(self.best[1].get(level, value), value)

    def finished(self, series: Sequence[float], value: float) -> None:
        """A trial has run to its end."""
        if self.best is None or self._better(value, self.best[0]):
            self.best = value, self.reached(series)

    def _better(self, one: float, other: float) -> bool:
        return one > other if self.maximize else one < other

    def stops(self, climber: Climber, series: Sequence[float]) -> bool:
        """Judges a trial at the rungs that it has reached since it was judged last; whether it is stopped."""
        # The series of a job that lost its machine, and had no checkpoints, is shorter than it was.
        before, climber.judged = climber.judged, max(climber.judged, len(series))
        for level in self.levels[climber.bracket :]:
            if before < level <= len(series) and not self.passes(climber.bracket, level, series[level - 1]):
                climber.judged = level
                return True
        if self.cut and len(series) >= self.most:
            climber.judged = self.most
            return True
        return False

    def reached(self, series: Sequence[float]) -> dict[int, float]:
        """A trial's values at the rungs."""
        return {level: series[level - 1] for level in self.levels if level <= len(series)}


def make_ladder(tuning: Mapping[str, Any], static: Mapping[str, str], *, maximize: bool) -> Ladder:
    """The ladder of a definition. ResourceProblem where there can be none."""
    least, most = resources(tuning, static)
    own = own_epochs(static)
    # No rung where a trial's own epochs end: a value after the last of them sums up, and is none of an epoch.
    return Ladder(rungs(least, min(most, own or most)), most, maximize, cut=own is None or own > most)
