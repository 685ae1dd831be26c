"""Bayesian search as AWS describes its own: a Gaussian process over the hyperparameters.

scikit-learn fits the process; Optuna keeps trials and distributions. Optuna's own GPSampler needs torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState
from scipy.stats import norm, qmc, rankdata

_SPREAD, _NEAR = 1000, 200  # candidates all over the space, and near each of the best
_SCALES = (0.15, 0.05, 0.015)  # how near: standard deviations, as shares of a range
_BEST = 3
# Results that it learns from, the best half and the newest: the time to fit grows with their number's cube,
# and a tuning job does nothing else meanwhile.
_MOST = 100


class GaussianProcess:
    """Proposes where the improvement to expect is largest.

    Of trials that were stopped it learns only until enough have run to their end: at each time from the
    values after the most epochs that enough trials have reached (as BOHB does; Falkner et al. 2018).

    `startup`: trials spread evenly before the first that it has learned for; `spread`: of so many later ones
    one is spread evenly, too (0: none). `seed` makes proposals the same.
    """

    def __init__(
        self, space: Mapping[str, BaseDistribution], seed: int | None, startup: int, spread: int = 0
    ) -> None:
        self._axes = _Axes(space)
        self._random = np.random.default_rng(seed)
        self._startup, self._spread = startup, spread
        self._proposed = 0
        self._even = qmc.Sobol(self._axes.count, rng=np.random.default_rng(seed))

    def propose(self, study: Any) -> dict[str, Any]:
        """The hyperparameters of the next trial."""
        axes = self._axes
        places, values = _known(study, axes, need=max(3, axes.width + 1))
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        self._proposed += 1
        even = self._spread > 0 and self._proposed % self._spread == 0
        if even or len(ended) < self._startup or len(set(values)) < 2:
            return axes.params(axes.widened(self._even.random(1))[0])
        return axes.params(self._most_promising(axes, places, values, _pending(study, axes)))

    def _most_promising(self, axes: _Axes, places: Any, values: Any, pending: Any) -> Any:
        scores = _normal_scores(np.asarray(values))
        process = _fitted(places, scores)
        if len(pending):
            # Those that run are taken to reach what is expected of them, so that nobody proposes them again.
            places = np.concatenate([places, pending])
            scores = np.concatenate([scores, process.predict(pending)])
            process = _refitted(process, places, scores)
        candidates = self._candidates(axes, places[np.argsort(-scores)[:_BEST]])
        mean, deviation = process.predict(candidates, return_std=True)
        return candidates[np.argmax(_expected_improvement(mean, deviation, process.predict(places).max()))]

    def _candidates(self, axes: _Axes, best: Any) -> Any:
        random = self._random
        parts = [axes.widened(random.random((_SPREAD, axes.count)))]
        for place in best:
            for scale in _SCALES:
                parts.append(axes.near(place, scale, _NEAR, random))
        return np.concatenate(parts)


class _Axes:
    """The space as a cube: a number is a place from 0 to 1, a choice a place of 0 or 1 for each value."""

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space = space
        self.count = len(space)
        self._widths = [
            len(d.choices) if isinstance(d, CategoricalDistribution) else 1 for d in space.values()
        ]
        self.width = sum(self._widths)

    def place(self, params: Mapping[str, Any]) -> Any:
        parts: list[float] = []
        for name, distribution in self._space.items():
            if isinstance(distribution, CategoricalDistribution):
                parts += [float(choice == params[name]) for choice in distribution.choices]
            else:
                low, high = _ends(distribution)
                parts.append(
                    (_scaled(distribution, params[name]) - low) / (high - low) if high > low else 0.5
                )
        return np.array(parts)

    def params(self, place: Any) -> dict[str, Any]:
        params, start = {}, 0
        for (name, distribution), width in zip(self._space.items(), self._widths, strict=True):
            part = place[start : start + width]
            start += width
            if isinstance(distribution, CategoricalDistribution):
                params[name] = distribution.choices[int(np.argmax(part))]
            else:
                params[name] = _value(distribution, float(part[0]))
        return params

    def widened(self, shares: Any) -> Any:
        """From one share for each hyperparameter, [N, count], to places, [N, width]."""
        columns = []
        for number, width in enumerate(self._widths):
            share = shares[:, number]
            if width == 1:
                columns.append(share[:, None])
            else:
                columns.append(np.eye(width)[np.minimum((share * width).astype(int), width - 1)])
        return np.concatenate(columns, axis=1)

    def near(self, place: Any, scale: float, count: int, random: np.random.Generator) -> Any:
        """Places around one; a choice changes in one of five."""
        places, start = np.tile(place, (count, 1)), 0
        for width in self._widths:
            if width == 1:
                places[:, start] = np.clip(places[:, start] + random.normal(0, scale, count), 0, 1)
            else:
                other = np.flatnonzero(random.random(count) < 0.2)
                places[other, start : start + width] = np.eye(width)[random.integers(0, width, len(other))]
            start += width
        return places


def _ends(distribution: Any) -> tuple[float, float]:
    return _scaled(distribution, distribution.low), _scaled(distribution, distribution.high)


def _scaled(distribution: Any, value: float) -> float:
    return float(np.log(value)) if distribution.log else float(value)


def _value(distribution: Any, place: float) -> Any:
    low, high = _ends(distribution)
    raw = low + (high - low) * place
    value = min(distribution.high, max(distribution.low, float(np.exp(raw)) if distribution.log else raw))
    return round(value) if isinstance(distribution, optuna.distributions.IntDistribution) else value


def _known(study: Any, axes: _Axes, *, need: int) -> tuple[Any, list[float]]:
    """Places and values (more is better) of the trials that can be compared with each other.

    A trial that failed counts as the worst: what fails near it is not proposed again and again.
    """
    sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    whole = [(trial, trial.value) for trial in trials if trial.state == TrialState.COMPLETE]
    levels = sorted({trial.last_step for trial in trials if trial.state == TrialState.PRUNED}, reverse=True)
    chosen = whole
    for level in levels:
        if len(chosen) >= need:
            break
        reached = [(t, t.intermediate_values[level]) for t in trials if level in t.intermediate_values]
        chosen = max(chosen, reached, key=len)
    values = [sign * value for _, value in chosen]
    those = [trial for trial, _ in chosen]
    if values:
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        those += failed
        values += [min(values)] * len(failed)
    kept = _worth_learning(values)
    those, values = [those[at] for at in kept], [values[at] for at in kept]
    places = np.array([axes.place(trial.params) for trial in those]).reshape(len(those), axes.width)
    return places, values


def _worth_learning(values: list[float]) -> list[int]:
    """Which of the values, in the order in which they came, are learned from."""
    best = np.argsort(-np.asarray(values), kind="stable")[: _MOST // 2]
    newest = range(max(0, len(values) - _MOST // 2), len(values))
    return sorted({*map(int, best), *newest} if len(values) > _MOST else range(len(values)))


def _pending(study: Any, axes: _Axes) -> Any:
    trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    places = [axes.place(trial.params) for trial in trials if trial.params]
    return np.array(places).reshape(len(places), axes.width)


def _normal_scores(values: Any) -> Any:
    """The values' ranks on the scale of a normal distribution: a loss of a million is only the worst."""
    return norm.ppf((rankdata(values) - 0.5) / len(values))


def _fitted(places: Any, scores: Any) -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0, (0.1, 10.0)) * Matern(np.full(places.shape[1], 0.3), (0.05, 5.0), nu=2.5)
    process = GaussianProcessRegressor(kernel + WhiteKernel(0.01, (1e-4, 0.3)), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a hyperparameter without effect has no length
        return process.fit(places, scores)


def _refitted(process: Any, places: Any, scores: Any) -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor

    return GaussianProcessRegressor(process.kernel_, optimizer=None).fit(places, scores)


def _expected_improvement(mean: Any, deviation: Any, best: float) -> Any:
    better = (mean - best) / np.maximum(deviation, 1e-9)
    return (mean - best) * norm.cdf(better) + deviation * norm.pdf(better)
