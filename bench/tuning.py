"""How many trials and epochs a search takes until one of its trials is within 1 % of the best known.

    python -m bench.tuning                   all searches, 20 seeds
    python -m bench.tuning six --seeds 5     one of them

Three real searches were recorded once (`bench.searching`) and are replayed: the strategies of the local
SageMaker, and Optuna's own samplers with their defaults, propose; the recording answers. One trial at a time.
A trial counts when all its epochs are over. A search without success at the limit counts as that many.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.recorded import GOOD, SEARCHES, Surface, load
from local.jobs.hyperband import Ladder, rungs
from local.jobs.search import Search, ranges

_LIMIT: Final = 150  # trials; more where they are cheap to propose or short, fewer where one takes long
_LIMITS: Final = {
    "Random": 1000,
    "Optuna random": 1000,
    "Hyperband": 400,
    "Optuna TPE, HyperbandPruner": 400,
    "Optuna GP": 60,
}


@dataclass(frozen=True)
class Spent:
    """What a search took until the goal, or in all."""

    trials: int
    epochs: int
    reached: bool


Runner = Callable[[Surface, int, int], Iterator[tuple[int, float | None]]]
"""Yields for each trial its epochs, and its last objective where it ran them all."""


def ours(strategy: str) -> Runner:
    """A strategy of the local SageMaker."""

    def run(surface: Surface, seed: int, limit: int) -> Iterator[tuple[int, float | None]]:
        found = ranges(surface.search.ranges)
        search = Search(strategy, found, maximize=True, seed=seed, budget=limit)
        epochs = surface.search.epochs
        ladder = Ladder(rungs(1, epochs) if strategy == "Hyperband" else (), epochs, maximize=True)
        while (proposal := search.propose()) is not None:
            curve, climber = surface.curve(proposal.values), ladder.begin()
            stopped = any(ladder.stops(climber, curve[:epoch]) for epoch in range(1, epochs))
            ran = climber.judged if stopped else epochs
            if not stopped:
                ladder.finished(curve, curve[-1])
            search.learn(proposal, curve[ran - 1], reached=ladder.reached(curve[:ran]), whole=not stopped)
            yield ran, None if stopped else curve[-1]

    return run


def optuna_own(sampler: str, *, pruned: bool = False) -> Runner:
    """A sampler of Optuna's with its defaults, and its HyperbandPruner."""

    def run(surface: Surface, seed: int, limit: int) -> Iterator[tuple[int, float | None]]:
        import optuna

        epochs = surface.search.epochs
        pruner = (
            optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)
            if pruned
            else optuna.pruners.NopPruner()
        )
        made = getattr(optuna.samplers, sampler)(seed=seed)
        study = optuna.create_study(
            direction="maximize", sampler=made, pruner=pruner, study_name=f"seed-{seed}"
        )
        distributions = {each.name: each.distribution for each in ranges(surface.search.ranges)}
        while True:
            trial = study.ask(distributions)
            curve = surface.curve({name: repr(value) for name, value in trial.params.items()})
            ran = epochs
            for epoch in range(1, epochs + 1):
                trial.report(curve[epoch - 1], epoch)
                if epoch < epochs and trial.should_prune():
                    ran = epoch
                    break
            if ran < epochs:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(trial, curve[-1])
            yield ran, curve[-1] if ran == epochs else None

    return run


CONTENDERS: Final[dict[str, Runner]] = {
    "Random": ours("Random"),
    "Bayesian": ours("Bayesian"),
    "Hyperband": ours("Hyperband"),
    "Optuna random": optuna_own("RandomSampler"),
    "Optuna TPE": optuna_own("TPESampler"),
    "Optuna GP": optuna_own("GPSampler"),
    "Optuna TPE, HyperbandPruner": optuna_own("TPESampler", pruned=True),
}


def spent(runner: Runner, surface: Surface, seed: int, limit: int) -> Spent:
    epochs = 0
    for number, (ran, value) in enumerate(runner(surface, seed, limit), 1):
        epochs += ran
        if value is not None and value >= GOOD * surface.best:
            return Spent(number, epochs, True)
        if number == limit:
            break
    return Spent(limit, epochs, False)


def replay(surface: Surface, seeds: int, without: Sequence[str] = ()) -> dict[str, list[Spent]]:
    results = {}
    for name, runner in CONTENDERS.items():
        if name in without:
            continue
        limit = _LIMITS.get(name, _LIMIT)
        results[name] = [spent(runner, surface, seed, limit) for seed in range(seeds)]
        print(line(name, results[name], results["Random"], limit), flush=True)
    return results


def line(name: str, own: list[Spent], random: list[Spent], limit: int) -> str:
    """A row of the table: medians, and how they compare with Random's."""
    trials, epochs = (statistics.median(getattr(each, what) for each in own) for what in ("trials", "epochs"))
    base = [statistics.median(getattr(each, what) for each in random) for what in ("trials", "epochs")]
    failed = sum(not each.reached for each in own)
    late = f"; {failed} of {len(own)} not in {limit}" if failed else ""
    worst = sorted(each.trials for each in own)[round(0.9 * (len(own) - 1))]
    shares = f"{trials:g} ({trials / base[0]:.0%}) | {worst} | {epochs:g} ({epochs / base[1]:.0%})"
    return f"| {name} | {shares}{late} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="SEARCH", help=f"of {[s.name for s in SEARCHES]}")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--without", action="append", default=[], help='a contender, e.g. "Optuna GP"')
    parser.add_argument("--json", type=Path, help="write every figure there")
    options = parser.parse_args()
    logging.getLogger("optuna").setLevel(logging.WARNING)
    warnings.simplefilter("ignore")  # of Optuna: experimental samplers
    figures: dict[str, Any] = {}
    for search in SEARCHES:
        if options.names and search.name not in options.names:
            continue
        surface = load(search)
        print(
            f"\n{search.name}: {len(search.axes)} hyperparameters, {search.epochs} epochs, "
            f"{surface.trainings} trainings recorded in {surface.seconds} s; the surface's error is "
            f"{surface.error:.3f}, near the best {surface.error_near:.3f}; best {surface.best:.4f}, "
            f"{surface.share:.2%} of the space within 1 % of it\n"
        )
        print("| | trials, median | trials, 90 % | epochs, median |\n|---|---|---|---|")
        results = replay(surface, options.seeds, options.without)
        figures[search.name] = {name: [vars(each) for each in those] for name, those in results.items()}
    if options.json:
        options.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
