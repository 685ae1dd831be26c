"""The recorded searches: what is searched, and what a training reaches at any point of the space.

A search in two dimensions is a grid, with straight lines between its points. One in six is a Gaussian process
over scattered trainings; `Surface.error` says how far it is from trainings that it has not seen.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

FOLDER: Final = Path(__file__).with_name("searches")
GOOD: Final = 0.99  # of the best known


@dataclass(frozen=True)
class Axis:
    """A tuned hyperparameter: its range, and of how many points the grid is."""

    name: str
    low: float
    high: float
    log: bool = True
    points: int = 0

    def at(self, place: float) -> float:
        """The value at a place between 0 and 1."""
        if self.log:
            return float(self.low * (self.high / self.low) ** place)
        return self.low + (self.high - self.low) * place

    def place(self, value: float) -> float:
        if self.log:
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Search:
    """`fixed`: what all trainings share. `scattered`: how many trainings there are where it is no grid."""

    name: str
    axes: tuple[Axis, ...]
    epochs: int
    fixed: Mapping[str, Any]
    scattered: int = 0

    @property
    def ranges(self) -> dict[str, Any]:
        """ParameterRanges, as in a request."""
        return {
            "ContinuousParameterRanges": [
                {
                    "Name": axis.name,
                    "MinValue": str(axis.low),
                    "MaxValue": str(axis.high),
                    "ScalingType": "Logarithmic" if axis.log else "Linear",
                }
                for axis in self.axes
            ]
        }


_FROZEN: Final = {"arch": "mobilenet_v2", "image_size": 128, "freeze": "backbone", "optimizer": "adamw"}
SEARCHES: Final = (
    Search(
        "digits",
        (Axis("lr", 1e-5, 3.0, points=14), Axis("momentum", 0.0, 0.98, log=False, points=7)),
        9,
        {"arch": "shufflenet_v2_x0_5", "weights": "none", "image_size": 32, "batch_size": 16},
    ),
    Search(
        "flowers5",
        (Axis("lr", 1e-7, 1.0, points=22), Axis("weight_decay", 1e-4, 1.0, points=9)),
        27,
        {**_FROZEN, "batch_size": 32},
    ),
    Search(
        "six",
        (
            Axis("lr", 1e-7, 1.0),
            Axis("head_lr_multiplier", 0.1, 100.0),
            Axis("momentum", 0.0, 0.99, log=False),
            Axis("weight_decay", 1e-5, 1.0),
            Axis("label_smoothing", 0.0, 0.8, log=False),
            Axis("batch_size", 8, 128),
        ),
        9,
        _FROZEN,
        scattered=360,
    ),
)


def digits_of(number: float) -> float:
    return round(float(number), 4)


@dataclass(frozen=True)
class Surface:
    """What a training reaches after each epoch, at any places between 0 and 1: [N, axes] to [N, epochs].

    `error`: root mean square of the last epoch's error on unseen trainings; `error_near`: of those within 5 %
    of the best. `best`: of the last epoch, in the recorded trainings. `share`: how much of the space is
    within 1 % of it.
    """

    search: Search
    curves: Callable[[Any], Any]
    trainings: int
    seconds: int
    error: float
    error_near: float
    best: float
    share: float

    def curve(self, values: Mapping[str, str]) -> list[float]:
        """Of one training, from a trial's hyperparameters."""
        place = [axis.place(float(values[axis.name])) for axis in self.search.axes]
        return [float(value) for value in self.curves(np.array([place]))[0]]


def load(search: Search) -> Surface:
    recorded = json.loads((FOLDER / f"{search.name}.json").read_text())
    places = np.array([place for place, _ in recorded["trainings"]])
    reached = np.array([curve for _, curve in recorded["trainings"]])
    best = float(reached[:, -1].max())
    if search.scattered:
        curves, wrong = _fitted(search, places, reached)
    else:
        curves = _interpolated(search, reached)
        wrong = _left_out(search, reached)
    near = reached[:, -1] >= 0.95 * best
    errors = [float(np.sqrt((each**2).mean())) for each in (wrong, wrong[near])]
    sample = np.random.default_rng(0).random((20_000, len(search.axes)))
    last = np.concatenate([curves(part)[:, -1] for part in np.array_split(sample, 20)])
    share = float((last >= GOOD * best).mean())
    return Surface(search, curves, len(places), recorded["made"]["seconds"], *errors, best, share)


def _interpolated(search: Search, reached: Any) -> Callable[[Any], Any]:
    from scipy.interpolate import RegularGridInterpolator

    shape = tuple(axis.points for axis in search.axes)
    lines = tuple(np.linspace(0, 1, points) for points in shape)
    grid = RegularGridInterpolator(lines, reached.reshape(*shape, -1))
    return lambda places: grid(np.clip(places, 0, 1))


def _left_out(search: Search, reached: Any) -> Any:
    """How wrong each point of the grid would be if it were interpolated from its neighbours on an axis."""
    last = reached[:, -1].reshape(tuple(axis.points for axis in search.axes))
    guesses = np.full((last.ndim, *last.shape), np.nan)
    for axis in range(last.ndim):
        line = np.moveaxis(last, axis, 0)
        np.moveaxis(guesses[axis], axis, 0)[1:-1] = (line[:-2] + line[2:]) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # corners have no two neighbours
        wrong = np.nanmean(guesses, axis=0) - last
    return np.nan_to_num(wrong).ravel()


def _fitted(search: Search, places: Any, reached: Any) -> tuple[Callable[[Any], Any], Any]:
    """The process, and how wrong it is for each training when it is fitted without its fold of five."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    def fit(rows: Any, what: Any, kernel: Any, optimizer: str | None = None) -> Any:
        process = GaussianProcessRegressor(kernel, optimizer=optimizer, normalize_y=True, random_state=0)
        return process.fit(_effective(search, places[rows]), what[rows])

    everything = np.ones(len(places), dtype=bool)
    lengths = Matern(np.full(_effective(search, places).shape[1], 0.5), (0.05, 20.0), nu=2.5)
    kernel = ConstantKernel(1.0) * lengths + WhiteKernel(0.01, (1e-4, 0.3))
    kernel = fit(everything, reached[:, -1], kernel, "fmin_l_bfgs_b").kernel_
    folds = np.random.default_rng(0).integers(0, 5, len(places))
    wrong = np.empty(len(places))
    for fold in range(5):
        out = folds == fold
        guessed = fit(~out, reached[:, -1], kernel).predict(_effective(search, places[out]))
        wrong[out] = guessed - reached[out, -1]
    process = fit(everything, reached, kernel)
    return lambda where: np.clip(process.predict(_effective(search, where)), 0.0, 1.0), wrong


def _effective(search: Search, places: Any) -> Any:
    """The head alone learns, at lr times head_lr_multiplier: to it, the two are one hyperparameter."""
    names = [axis.name for axis in search.axes]
    lr, times = names.index("lr"), names.index("head_lr_multiplier")
    decades = [np.log10(search.axes[each].high / search.axes[each].low) for each in (lr, times)]
    rate = (places[:, lr] * decades[0] + places[:, times] * decades[1]) / sum(decades)
    return np.column_stack([rate, np.delete(places, [lr, times], axis=1)])
