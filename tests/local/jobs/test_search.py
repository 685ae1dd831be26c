from __future__ import annotations

import math
from typing import Any

import pytest

from local.jobs.search import Proposal, Result, Search, SearchProblem, ranges, worse_than_median


def continuous(low: str, high: str, scaling: str = "Linear") -> dict[str, Any]:
    entry = {"Name": "x", "MinValue": low, "MaxValue": high, "ScalingType": scaling}
    return {"ContinuousParameterRanges": [entry]}


def integer(low: str, high: str, scaling: str = "Linear") -> dict[str, Any]:
    entry = {"Name": "x", "MinValue": low, "MaxValue": high, "ScalingType": scaling}
    return {"IntegerParameterRanges": [entry]}


def sample(given: dict[str, Any], count: int = 200, strategy: str = "Random") -> list[str]:
    search = Search(strategy, ranges(given), maximize=True, seed=3)
    proposals = [search.propose() for _ in range(count)]
    return [proposal.values["x"] for proposal in proposals if proposal is not None]


def share(values: list[str], low: float, high: float) -> float:
    return sum(low <= float(value) < high for value in values) / len(values)


def test_values_are_strings_within_the_range() -> None:
    assert all(0.9 <= float(value) <= 1.0 for value in sample(continuous("0.9", "1.0")))
    assert set(sample(integer("1", "4"))) == {"1", "2", "3", "4"}
    assert set(sample({"CategoricalParameterRanges": [{"Name": "x", "Values": ["10", "a b"]}]})) == {
        "10",
        "a b",
    }


def test_a_logarithmic_scale_spends_as_much_on_each_decade() -> None:
    for given in (continuous("0.001", "10", "Logarithmic"), continuous("0.001", "10", "Auto")):
        assert 0.15 < share(sample(given), 0.001, 0.01) < 0.35
    assert share(sample(continuous("0.001", "10")), 0.001, 0.01) < 0.05
    assert share(sample(integer("1", "10000", "Logarithmic")), 1, 100) > 0.35


def test_a_reverse_logarithmic_scale_is_fine_near_one() -> None:
    values = sample(continuous("0.9", "0.9999", "ReverseLogarithmic"))
    assert share(values, 0.999, 1.0) > 0.2
    assert all(0.9 <= float(value) <= 0.9999 for value in values)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (continuous("abc", "1"), "'abc' to '1' are not both numbers"),
        (continuous("2", "1"), "must not be above"),
        (continuous("nan", "1"), "must not be above"),
        (continuous("0", "1", "Logarithmic"), "needs MinValue > 0"),
        (continuous("0", "1", "ReverseLogarithmic"), "0 <= values < 1"),
        (integer("1", "2.5"), "not both numbers"),
        (integer("1", "2", "ReverseLogarithmic"), "continuous ranges only"),
    ],
)
def test_senseless_ranges_are_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(SearchProblem, match=says):
        ranges(given)


def test_bayesian_search_closes_in_on_the_optimum() -> None:
    search = Search("Bayesian", ranges(continuous("0", "1")), maximize=False, seed=0, budget=40)
    values = []
    for _ in range(40):
        proposal = search.propose()
        assert isinstance(proposal, Proposal)
        values.append(float(proposal.values["x"]))
        search.learn(proposal, (values[-1] - 0.7) ** 2)
    assert min(abs(value - 0.7) for value in values) < 0.02
    late = values[20:]
    assert sum(abs(value - 0.7) < 0.15 for value in late) > len(late) / 2


def test_a_failed_trial_does_not_disturb_the_search() -> None:
    search = Search("Bayesian", ranges(continuous("0", "1")), maximize=True, seed=0, budget=6)
    for number in range(6):
        proposal = search.propose()
        assert proposal is not None
        search.learn(proposal, None if number % 2 else 0.5)


@pytest.mark.parametrize(
    ("own", "maximize", "worse"),
    [
        ([0.1], True, True),
        ([0.9], True, False),
        ([0.9], False, True),
        ([], True, False),
        ([0.9, 0.9, 0.1], True, False),  # nobody else came so far
    ],
)
def test_early_stopping_compares_with_the_median(own: list[float], maximize: bool, worse: bool) -> None:
    others = [[0.4, 0.6], [0.5, 0.7], [0.6, 0.8]]
    assert worse_than_median(own, others, maximize=maximize) is worse


def test_early_stopping_needs_trials_to_compare_with() -> None:
    assert not worse_than_median([0.0], [[1.0], [1.0]], maximize=True)


def knowing(*results: Result, identical: bool, given: dict[str, Any] | None = None, seed: int = 1) -> Search:
    search = Search("Bayesian", ranges(given or continuous("0", "1")), maximize=True, seed=seed, budget=20)
    search.know(results, identical=identical)
    return search


def peak(x: float) -> float:
    return -((x - 0.3) ** 2)


def test_parents_of_the_same_data_spare_the_exploration() -> None:
    known = [Result({"x": repr(x / 20), "epochs": "3"}, peak(x / 20)) for x in range(21)]
    for seed in range(5):
        first = knowing(*known, identical=True, seed=seed).propose()
        assert first is not None
        assert abs(float(first.values["x"]) - 0.3) < 0.2


def test_results_outside_the_ranges_and_without_a_value_are_left_out() -> None:
    search = Search("Bayesian", ranges(continuous("0", "1")), maximize=True)
    results = [Result({"x": x}, 1.0) for x in ("0.5", "1.5", "some", '"0.5"')] + [Result({"y": "0.5"}, 1.0)]
    assert search.know(results, identical=True) == 1
    assert Search("Random", ranges(continuous("0", "1")), maximize=True).know(results, identical=True) == 0


def test_a_reverse_logarithmic_value_is_found_again() -> None:
    search = Search("Bayesian", ranges(continuous("0.9", "0.999", "ReverseLogarithmic")), maximize=True)
    results = [Result({"x": x}, 1.0, parent="a") for x in ("0.9", "0.999", "0.95", "0.89", "0.9999")]
    assert search.know(results[2:], identical=False) == 1
    proposal = search.propose()
    assert proposal is not None
    assert float(proposal.values["x"]) == pytest.approx(0.95)
    assert search.know(results[:2], identical=True) == 2


def test_transfer_repeats_the_best_of_each_parent_and_then_counts_the_rest_by_the_difference() -> None:
    search = knowing(
        Result({"x": "0.5"}, 0.9, parent="a"), Result({"x": "0.6"}, 0.7, parent="a"),
        Result({"x": "0.1"}, 0.99, steps=1, whole=False, parent="a"), Result({"x": "0.2"}, 0.1, parent="b"),
        identical=False,
    )  # fmt: skip
    first, second = search.propose(), search.propose()
    assert first is not None
    assert second is not None
    assert [first.values, second.values] == [{"x": "0.5"}, {"x": "0.2"}]
    search.learn(first, 0.4)
    search.learn(second, None)  # it failed, and says nothing of its parent
    values = {trial.params["x"]: trial.value for trial in search._study.trials}
    assert values == {0.5: pytest.approx(0.4), 0.6: pytest.approx(0.2), 0.1: pytest.approx(0.49), 0.2: None}


def test_until_enough_have_run_to_their_end_the_stopped_trials_teach() -> None:
    search = Search("Hyperband", ranges(continuous("0", "1")), maximize=True, seed=1, budget=30)
    for _ in range(12):
        proposal = search.propose()
        assert proposal is not None
        value = peak(float(proposal.values["x"]))
        search.learn(proposal, value, reached={1: value}, whole=False)
    last = search.propose()
    assert last is not None
    assert abs(float(last.values["x"]) - 0.3) < 0.15


def test_a_bayesian_search_finds_the_best_of_numbers_and_choices() -> None:
    given = {
        "ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}],
        "IntegerParameterRanges": [{"Name": "n", "MinValue": "1", "MaxValue": "1000"}],
        "CategoricalParameterRanges": [{"Name": "kind", "Values": ["a", "b", "c"]}],
    }
    search = Search("Bayesian", ranges(given), maximize=False, seed=2, budget=30)
    best = 1e9
    for _ in range(30):
        running = search.propose()  # one more at a time, which is not told before the other
        proposal = search.propose()
        for one in (proposal, running):
            assert one is not None
            wrong = abs(float(one.values["x"]) - 0.7) + abs(math.log10(float(one.values["n"])) - 2)
            wrong += one.values["kind"] != "b"
            search.learn(one, wrong)
            best = min(best, wrong)
    assert best < 0.1


def test_the_same_seed_proposes_the_same_again() -> None:
    def proposals(seed: int) -> list[str]:
        search = Search("Bayesian", ranges(continuous("0", "1")), maximize=True, seed=seed, budget=9)
        found = []
        for _ in range(7):
            proposal = search.propose()
            assert proposal is not None
            found.append(proposal.values["x"])
            search.learn(proposal, peak(float(proposal.values["x"])))
        return found

    assert proposals(3) == proposals(3)
    assert proposals(3) != proposals(4)


def test_a_failed_trial_and_a_range_of_one_value_do_no_harm() -> None:
    search = Search("Bayesian", ranges(continuous("0.5", "0.5")), maximize=True, seed=1, budget=6)
    for value in (None, 0.1, 0.2, 0.1, 0.3):
        proposal = search.propose()
        assert proposal is not None
        assert proposal.values == {"x": "0.5"}
        search.learn(proposal, value)


def test_bayesian_search_keeps_away_from_where_trials_fail() -> None:
    search = Search("Bayesian", ranges(continuous("0", "1")), maximize=True, seed=0, budget=30)
    failed = 0
    for _ in range(30):
        proposal = search.propose()
        assert proposal is not None
        x = float(proposal.values["x"])
        failed += x > 0.6  # out of memory, say
        search.learn(proposal, None if x > 0.6 else x)
    assert failed <= 12
