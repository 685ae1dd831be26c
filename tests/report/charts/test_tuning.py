"""The figures of a tuning job."""

from __future__ import annotations

import pytest

from report.charts.tuning import progress_figure
from tests.report.samples import tuning


def ticks(count: int) -> list[int]:
    figure = progress_figure(tuning(count))
    assert figure is not None
    values: list[int] = figure.spec["layer"][0]["encoding"]["x"]["axis"]["values"]
    return values


@pytest.mark.parametrize(
    ("count", "expected"), [(2, [1, 2]), (5, [1, 2, 3, 4, 5]), (30, [5, 10, 15, 20, 25, 30])]
)
def test_each_tick_of_the_trials_is_a_whole_number_and_there_once(count: int, expected: list[int]) -> None:
    assert ticks(count) == expected
