"""Rungs, and who passes them."""

from __future__ import annotations

from typing import Any

import pytest

from local.jobs.hyperband import (
    Climber,
    Ladder,
    ResourceProblem,
    make_ladder,
    own_epochs,
    resources,
    rungs,
)


def config(**limits: int) -> dict[str, Any]:
    return {"StrategyConfig": {"HyperbandStrategyConfig": limits}}


@pytest.mark.parametrize(
    ("least", "most", "expected"), [(1, 9, (1, 3)), (1, 27, (1, 3, 9)), (2, 10, (2, 6)), (4, 5, (4,))]
)
def test_each_rung_is_three_times_the_one_before(least: int, most: int, expected: tuple[int, ...]) -> None:
    assert rungs(least, most) == expected


def test_resources_are_taken_from_the_epochs_where_the_request_has_none() -> None:
    assert resources({}, {"num_epochs": "8"}) == (1, 8)
    assert resources(config(MinResource=2), {"epochs": '"8"'}) == (2, 8)
    assert resources(config(MinResource=2, MaxResource=5), {"epochs": "8"}) == (2, 5)
    assert own_epochs({"epochs": "a few"}) is None
    with pytest.raises(ResourceProblem, match="MaxResource is missing"):
        resources({}, {})


def test_one_of_three_passes_and_the_first_of_all() -> None:
    ladder = Ladder((1,), 3, maximize=True)
    values = [0.5, 0.4, 0.6, 0.3, 0.55, 0.7, 0.65]
    assert [ladder.passes(0, 1, value) for value in values] == [True, False, True, False, False, True, True]
    falling = Ladder((1,), 3, maximize=False)
    assert [falling.passes(0, 1, value) for value in (0.5, 0.6, 0.4)] == [True, False, True]


def test_a_trial_is_judged_once_at_each_rung_by_its_value_there() -> None:
    ladder, climber = Ladder((1, 3), 9, maximize=True), Climber(0)
    assert not ladder.stops(climber, [0.5, 0.1])
    assert not ladder.stops(climber, [0.5, 0.1, 0.9])
    assert ladder.results == {(0, 1): [0.5], (0, 3): [0.9]}
    # Two epochs that arrive together are judged by the first, at whose rung the trial is stopped.
    late = Climber(0)
    assert ladder.stops(late, [0.4, 0.99])
    assert late.judged == 1
    assert ladder.results == {(0, 1): [0.5, 0.4], (0, 3): [0.9]}


def test_later_brackets_are_not_judged_early_and_have_as_many_epochs() -> None:
    ladder = Ladder((1, 3, 9), 27, maximize=True)
    brackets = [ladder.begin().bracket for _ in range(60)]
    counts = [brackets.count(bracket) for bracket in range(3)]
    # Of three at a rung one goes on: 3, 7 and 15 epochs a trial.
    spent = [count * cost for count, cost in zip(counts, (3, 7, 15), strict=True)]
    assert max(spent) - min(spent) <= 15
    assert brackets[:3] == [0, 0, 1]
    assert not ladder.stops(Climber(1), [0.5])
    assert ladder.results == {}
    assert ladder.passes(0, 3, 0.9)
    assert not ladder.stops(Climber(1), [0.5, 0.5, 0.5])


def test_who_is_as_good_as_the_best_trial_was_goes_on() -> None:
    ladder = Ladder((1,), 3, maximize=True)
    ladder.finished([0.2, 0.8, 0.9], 0.9)
    ladder.finished([0.6, 0.7, 0.7], 0.7)
    assert ladder.passes(0, 1, 0.5)
    assert ladder.passes(0, 1, 0.25)
    assert not ladder.passes(0, 1, 0.1)


def test_a_job_whose_epochs_go_beyond_is_stopped_at_max_resource() -> None:
    beyond, climber = make_ladder(config(MaxResource=3), {"epochs": "10"}, maximize=True), Climber(0)
    assert not beyond.stops(climber, [0.1, 0.2])
    assert beyond.stops(climber, [0.1, 0.2, 0.3, 0.4])
    assert climber.judged == 3
    own = make_ladder(config(MaxResource=3), {"epochs": "3"}, maximize=True)
    assert not own.stops(Climber(0), [0.1, 0.2, 0.3])


def test_no_trial_is_judged_where_its_own_epochs_end() -> None:
    short = make_ladder(config(MaxResource=27), {"epochs": "3"}, maximize=True)
    assert short.levels == (1,)
    assert not short.stops(short.begin(), [0.3, 0.2, 0.1, 0.3])
    none = make_ladder(config(MinResource=9, MaxResource=27), {"epochs": "3"}, maximize=True)
    assert not none.stops(none.begin(), [0.1, 0.2, 0.3])


def test_a_trial_that_begins_again_is_not_judged_twice_at_a_rung() -> None:
    ladder, climber = Ladder((1, 3), 9, maximize=True), Climber(0)
    for series in ([0.5], [0.5, 0.6, 0.7], [0.4], [0.4, 0.5, 0.6]):
        assert not ladder.stops(climber, series)
    assert ladder.results == {(0, 1): [0.5], (0, 3): [0.7]}
