"""Chooses the hyperparameters of a tuning job's next trial, with Optuna."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

_STARTUP = 4  # trials spread evenly, where the budget has them
STRATEGIES = ("Bayesian", "Random", "Hyperband", "Grid")


class SearchProblem(Exception):
    """Ranges that cannot be searched; the text says which and why."""


@dataclass(frozen=True)
class Range:
    """One tuned hyperparameter: Optuna's distribution, its value as the string that a job gets, and back.

    `value` raises ValueError for a text that is no such value.
    """

    name: str
    distribution: Any
    text: Callable[[Any], str]
    value: Callable[[str], Any]


@dataclass
class Proposal:
    """Hyperparameters to try. `handle` is the search's own."""

    values: dict[str, str]
    handle: Any


def ranges(parameter_ranges: Mapping[str, Any]) -> list[Range]:
    """The ParameterRanges of a tuning job. SearchProblem for ranges that make no sense."""
    all_ranges = [_continuous(entry) for entry in parameter_ranges.get("ContinuousParameterRanges", [])]
    all_ranges += [_integer(entry) for entry in parameter_ranges.get("IntegerParameterRanges", [])]
    all_ranges += [_categorical(entry) for entry in parameter_ranges.get("CategoricalParameterRanges", [])]
    return all_ranges


def _bounds(entry: Mapping[str, Any], number: Callable[[str], float]) -> tuple[float, float]:
    name = entry["Name"]
    try:
        low, high = number(entry["MinValue"]), number(entry["MaxValue"])
    except ValueError as error:
        raise SearchProblem(
            f"Range of {name!r}: {entry['MinValue']!r} to {entry['MaxValue']!r} are not both numbers."
        ) from error
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise SearchProblem(f"Range of {name!r}: MinValue {low} must not be above MaxValue {high}.")
    return low, high


def _logarithmic(entry: Mapping[str, Any], low: float, high: float) -> bool:
    scaling = entry.get("ScalingType", "Auto")
    if scaling == "Logarithmic" and low <= 0:
        raise SearchProblem(f"Range of {entry['Name']!r}: Logarithmic scaling needs MinValue > 0, not {low}.")
    # Auto: over two orders of magnitude a linear scale would leave the small values out.
    return scaling == "Logarithmic" or (scaling == "Auto" and low > 0 and high / low >= 100)


def _continuous(entry: Mapping[str, Any]) -> Range:
    from optuna.distributions import FloatDistribution

    low, high = _bounds(entry, float)
    if entry.get("ScalingType") == "ReverseLogarithmic":
        if low < 0 or high >= 1:
            raise SearchProblem(
                f"Range of {entry['Name']!r}: ReverseLogarithmic scaling needs 0 <= values < 1, "
                f"not {low} to {high}."
            )
        # Fine near 1, as for a momentum: 1 - x is searched on a logarithmic scale.
        return Range(
            entry["Name"],
            FloatDistribution(1 - high, 1 - low, log=True),
            lambda value: repr(float(min(high, max(low, 1 - value)))),
            lambda text: (
                min(1 - low, max(1 - high, 1 - float(text))) if low <= float(text) <= high else math.nan
            ),
        )
    log = _logarithmic(entry, low, high)
    return Range(
        entry["Name"], FloatDistribution(low, high, log=log), lambda value: repr(float(value)), float
    )


def _integer(entry: Mapping[str, Any]) -> Range:
    from optuna.distributions import IntDistribution

    low, high = _bounds(entry, int)
    if entry.get("ScalingType") == "ReverseLogarithmic":
        raise SearchProblem(
            f"Range of {entry['Name']!r}: ReverseLogarithmic scaling is for continuous ranges only."
        )
    log = _logarithmic(entry, low, high)
    return Range(
        entry["Name"], IntDistribution(int(low), int(high), log=log), lambda value: str(int(value)), int
    )


def _categorical(entry: Mapping[str, Any]) -> Range:
    from optuna.distributions import CategoricalDistribution

    values = entry["Values"]
    if not values:
        raise SearchProblem(f"Range of {entry['Name']!r}: Values is empty.")
    return Range(entry["Name"], CategoricalDistribution(values), str, str)


@dataclass(frozen=True)
class Result:
    """What a training job of an earlier tuning job reached.

    `values`: all its hyperparameters. `steps`: how many values of the objective it has printed. `whole`:
    whether it ran to its own end. `parent`: the tuning job that it belongs to.
    """

    values: Mapping[str, str]
    value: float
    steps: int = 1
    whole: bool = True
    parent: str = ""


class Search:
    """Proposes trials and learns from their results. For one thread.

    `maximize`: whether more is better. `seed` makes the proposals the same again, given the same results in
    the same order. `budget`: trials to come, None where that is not known.
    """

    def __init__(
        self,
        strategy: str,
        found: list[Range],
        *,
        maximize: bool,
        seed: int | None = None,
        budget: int | None = None,
    ) -> None:
        import optuna

        if strategy not in STRATEGIES:
            raise SearchProblem(f"Strategy {strategy!r} is not here; use one of {', '.join(STRATEGIES)}.")
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._ranges = found
        self._maximize = maximize
        self._grid: Iterator[tuple[str, ...]] | None = None
        self._model: Any = None
        if strategy in ("Bayesian", "Hyperband"):
            from local.jobs.gaussian import GaussianProcess

            # A third of the trials explores before the model is trusted.
            startup = _STARTUP if budget is None else max(2, min(_STARTUP, budget // 3))
            space = {each.name: each.distribution for each in found}
            # Hyperband hides what becomes of the trials that it stops: some must not trust the model.
            self._model = GaussianProcess(space, seed, startup, 3 if strategy == "Hyperband" else 0)
        if strategy == "Grid":
            self._grid = _grid(found)
        self._study = optuna.create_study(
            direction="maximize" if maximize else "minimize", sampler=optuna.samplers.RandomSampler(seed=seed)
        )
        self._distributions = {each.name: each.distribution for each in found}
        self._compared: dict[str, list[Result]] = {}  # by parent, until its best has been run again
        self._repeated: list[tuple[str, dict[str, Any]]] = []  # parents, and their best, to be run

    def know(self, results: Sequence[Result], *, identical: bool) -> int:
        """Learns from earlier tuning jobs before the first proposal; how many results lie in the ranges.

        `identical`: they count as if they were this search's own. Otherwise the objective of another data set
        or algorithm is not comparable: the first trials repeat the best of each parent, and the parent's
        results count with the difference that its best has then shown.
        """
        if self._model is None:
            return 0
        tried = [(result, self._trial(result)) for result in results]
        usable = [(result, trial) for result, trial in tried if trial is not None]
        if identical:
            for _, trial in usable:
                self._study.add_trial(trial)
            return len(usable)
        for result, _ in usable:
            self._compared.setdefault(result.parent, []).append(result)
        for parent, those in self._compared.items():
            those.sort(
                key=lambda result: (not result.whole, -result.value if self._maximize else result.value)
            )
            self._repeated.append((parent, self._trial(those[0]).params))
        return len(usable)

    def propose(self) -> Proposal | None:
        """The next trial; None when a grid has been walked through."""
        if self._grid is not None:
            combination = next(self._grid, None)
            if combination is None:
                return None
            names = [each.name for each in self._ranges]
            return Proposal(dict(zip(names, combination, strict=True)), None)
        if self._repeated:
            parent, params = self._repeated.pop(0)
            self._study.enqueue_trial(params, user_attrs={"parent": parent})
        elif self._model is not None:
            self._study.enqueue_trial(self._model.propose(self._study))
        trial = self._study.ask(self._distributions)
        return Proposal({each.name: each.text(trial.params[each.name]) for each in self._ranges}, trial)

    def learn(
        self,
        proposal: Proposal,
        value: float | None,
        *,
        reached: Mapping[int, float] | None = None,
        whole: bool = True,
    ) -> None:
        """The objective that a trial reached; None if it reached none.

        `reached`: its values by epoch, at Hyperband's rungs. `whole`: not stopped there.
        """
        from optuna.trial import TrialState

        if proposal.handle is None:
            return
        for epoch, then in (reached or {}).items():
            proposal.handle.report(then, epoch)
        if value is None:
            self._study.tell(proposal.handle, state=TrialState.FAIL)
        elif whole:
            self._study.tell(proposal.handle, value)
        else:
            self._study.tell(proposal.handle, state=TrialState.PRUNED)
        parent = self._compared.pop(proposal.handle.user_attrs.get("parent", ""), [])
        if value is not None and whole and parent:
            for result in parent[1:]:
                self._study.add_trial(
                    self._trial(replace(result, value=result.value + value - parent[0].value))
                )

    def _trial(self, result: Result) -> Any:
        """The result as Optuna's; None if its hyperparameters are not in the ranges."""
        import optuna
        from optuna.trial import TrialState

        try:
            return optuna.create_trial(
                params={each.name: each.value(result.values[each.name]) for each in self._ranges},
                distributions=self._distributions,
                value=result.value,
                intermediate_values={} if result.whole else {max(1, result.steps): result.value},
                state=TrialState.COMPLETE if result.whole else TrialState.PRUNED,
            )
        except (KeyError, ValueError):
            return None


def _grid(categorical: list[Range]) -> Iterator[tuple[str, ...]]:
    from optuna.distributions import CategoricalDistribution

    for each in categorical:
        if not isinstance(each.distribution, CategoricalDistribution):
            raise SearchProblem(f"Range of {each.name!r}: the Grid strategy takes categorical ranges only.")
    return itertools.product(*(each.distribution.choices for each in categorical))


def grid_size(parameter_ranges: Mapping[str, Any]) -> int:
    """How many combinations the categorical ranges have."""
    return math.prod(len(entry["Values"]) for entry in parameter_ranges.get("CategoricalParameterRanges", []))


def worse_than_median(own: list[float], others: list[list[float]], *, maximize: bool) -> bool:
    """Whether a trial is worth stopping early: SageMaker's rule.

    `own`: the objective so far, a value per epoch; `others`: those of trials that have ended. True if the
    newest value is worse than the median of the others' running averages up to the same epoch.
    """
    import statistics

    if not own:
        return False
    epoch = len(own)
    averages = [statistics.fmean(series[:epoch]) for series in others if len(series) >= epoch]
    if len(averages) < _ENOUGH_TO_COMPARE:
        return False
    median = statistics.median(averages)
    return own[-1] < median if maximize else own[-1] > median


_ENOUGH_TO_COMPARE = 3
