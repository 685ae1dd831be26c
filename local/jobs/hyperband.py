"""Hyperband: how far a trial may go before it has to be among the best, and which trials are stopped there.

AWS documents MinResource, MaxResource and that the objective of each epoch decides, but not how. Here it is
its asynchronous form with one bracket (Li et al. 2020, "A System for Massively Parallel Hyperparameter
Tuning"): no trial waits at a rung for others, and no slot is empty. A resource is one value of the objective.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    """The epochs that a job is told to run; SageMaker's SDK puts numbers in quotes."""
    for name in EPOCHS:
        text = static.get(name, "").strip('"')
        if text.isascii() and text.isdecimal() and int(text) >= 1:
            return int(text)
    return None


def rungs(least: int, most: int) -> tuple[int, ...]:
    """The epochs after which trials are compared: MinResource, three times that, …, below MaxResource."""
    found = []
    while least < most:
        found.append(least)
        least *= REDUCTION
    return tuple(found)


@dataclass
class Ladder:
    """The results of a definition's trials at each rung, in the order in which they came.

    `most`: values after which a trial is stopped in any case; None where its own epochs end it by then.
    """

    levels: Sequence[int]
    maximize: bool
    most: int | None = None
    results: dict[int, list[float]] = field(default_factory=dict)

    def passes(self, level: int, value: float) -> bool:
        """Whether a trial goes on from the rung `level`: it is in the best third of those that came there."""
        there = self.results.setdefault(level, [])
        there.append(value)
        better = sum(other > value if self.maximize else other < value for other in there)
        return better < max(1, len(there) // REDUCTION)

    def stops(self, judged: int, series: Sequence[float]) -> tuple[int, bool]:
        """Judges a trial at the rungs that it has reached since it had `judged` values.

        Returns how many of its values are judged now, and whether it is to be stopped.
        """
        for level in self.levels:
            if judged < level <= len(series) and not self.passes(level, series[level - 1]):
                return level, True
        if self.most is not None and len(series) >= self.most:
            return self.most, True
        return len(series), False


def make_ladder(tuning: Mapping[str, Any], static: Mapping[str, str], *, maximize: bool) -> Ladder:
    """The ladder of a definition. ResourceProblem where there can be none."""
    least, most = resources(tuning, static)
    own = own_epochs(static)
    return Ladder(rungs(least, most), maximize, None if own is not None and own <= most else most)
