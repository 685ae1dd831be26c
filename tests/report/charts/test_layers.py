"""The heat maps of the layers: where their cells begin and end."""

import numpy as np
import pytest

from report.charts.layers import bins
from report.read.series import read_series


@pytest.mark.parametrize(
    ("steps", "last", "edges"),
    [
        ([0, 50, 100], 112, [0, 50, 100, 113]),  # stopped between two saved steps
        ([0, 50, 100], 400, [0, 50, 100, 150]),  # later steps were not saved
        ([0, 50, 100], 100, [0, 50, 100, 101]),
        ([7], np.inf, [7, 8]),
    ],
)
def test_no_cell_goes_beyond_the_end_of_the_training(steps: list[int], last: float, edges: list[int]) -> None:
    assert bins(np.array(steps, dtype=np.float64), last).tolist() == edges


def test_the_last_step_is_that_of_losses_or_times() -> None:
    loss = {"step": [0, 5, 98], "value": [2.0, 1.0, 0.5]}
    timed = {"step": [0, 99], "mode": ["TRAIN", "TRAIN"], "total_ms": [1.0, 1.0]}
    assert read_series({"losses": {"loss": {"TRAIN": loss}}}).last_step == 98
    assert read_series({"losses": {"loss": {"TRAIN": loss}}, "step_time": timed}).last_step == 99
    assert read_series({}).last_step == np.inf
