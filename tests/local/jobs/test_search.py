from __future__ import annotations

from typing import Any

import pytest

from local.jobs.search import Proposal, Search, SearchProblem, ranges, worse_than_median


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
