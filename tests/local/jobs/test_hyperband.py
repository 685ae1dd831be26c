"""Rungs, and who passes them."""

from __future__ import annotations

from typing import Any

import pytest

from local.jobs.hyperband import Ladder, ResourceProblem, make_ladder, own_epochs, resources, rungs


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
    ladder = Ladder((1,), maximize=True)
    values = [0.5, 0.4, 0.6, 0.3, 0.55, 0.7, 0.65]
    assert [ladder.passes(1, value) for value in values] == [True, False, True, False, False, True, True]
    falling = Ladder((1,), maximize=False)
    assert [falling.passes(1, value) for value in (0.5, 0.6, 0.4)] == [True, False, True]


def test_a_trial_is_judged_once_at_each_rung_by_its_value_there() -> None:
    ladder = Ladder((1, 3), maximize=True)
    assert ladder.stops(0, [0.5, 0.1]) == (2, False)
    assert ladder.stops(2, [0.5, 0.1, 0.9]) == (3, False)
    assert ladder.results == {1: [0.5], 3: [0.9]}
    # Two epochs that arrive together are judged by the first, at whose rung the trial is stopped.
    assert ladder.stops(0, [0.4, 0.99]) == (1, True)
    assert ladder.results == {1: [0.5, 0.4], 3: [0.9]}


def test_a_job_whose_epochs_go_beyond_is_stopped_at_max_resource() -> None:
    beyond = make_ladder(config(MaxResource=3), {"epochs": "10"}, maximize=True)
    assert beyond.stops(0, [0.1, 0.2]) == (2, False)
    assert beyond.stops(2, [0.1, 0.2, 0.3]) == (3, True)
    own = make_ladder(config(MaxResource=3), {"epochs": "3"}, maximize=True)
    assert own.stops(0, [0.1, 0.2, 0.3]) == (3, False)
