"""What a running job's terminal shows below its lines."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

from contract.findings import ProgressLine
from scripts.live import Curve, Curves, plot


def drawn(thing: object, width: int = 60) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(thing)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def progress(step: int, loss: float | None = 1.0, **more: Any) -> ProgressLine:
    return ProgressLine(epoch=1, epochs=4, step=step, steps=400, loss=loss, **more)


def test_the_loss_by_step_is_drawn_as_the_job_advances() -> None:
    curves = Curves()
    for step in range(1, 40):
        curves.advance(progress(step, 4.0 / step))
    assert drawn(curves.charts(60)[0]).splitlines()[-1].split() == ["1", "39"]


def test_after_an_interruption_steps_are_done_again() -> None:
    once, again = Curves(), Curves()
    for step in (1, 5, 9):
        once.advance(progress(step, 1.0 / step))
    for step, loss in ((1, 1.0), (5, 7.0), (6, 8.0), (5, 1 / 5), (9, 1 / 9)):
        again.advance(progress(step, loss))
    assert drawn(again) == drawn(once)


def test_how_far_a_job_is_stands_above_the_curves_until_it_ends() -> None:
    curves = Curves()
    curves.advance(progress(100, None, images_per_second=1234.5, seconds_left=72.0))
    text = "epoch 1 of 4, step 100 of 400 (25 %), 1,234 pictures/s, 1 min 12 s left"
    assert drawn(curves, 100).strip() == text
    curves.end()
    assert drawn(curves, 100).strip() == ""


def test_a_chart_spans_its_values_and_its_width() -> None:
    chart = drawn(plot("Loss", [Curve("training", "", [(0, 4.0), (50, 2.0), (100, 1.0)])], 60))
    lines = chart.splitlines()
    assert lines[1].startswith("  4 ")
    assert lines[8].startswith("  1 ")
    assert lines[-1].split() == ["0", "100"]
    assert max(map(len, lines)) <= 60
    assert sum(0x2800 < ord(char) <= 0x28FF for char in chart) > 20


def test_what_is_no_number_is_told_and_decades_are_logarithmic() -> None:
    points = [(0, 1.0), (1, 1e4), (2, math.nan), (3, 1.0)]
    chart = drawn(plot("Loss", [Curve("training", "", points)], 60))
    assert "1 not a number" in chart
    assert "\n  100 " in chart  # the middle of 1 and 10,000
    assert "nothing to draw yet" in drawn(plot("Loss", [Curve("t", "", [(0, math.nan)])], 60))


@pytest.mark.parametrize("width", [40, 100])
def test_the_curves_fit_the_terminal(width: int) -> None:
    curves = Curves()
    assert drawn(curves, width).strip() == ""
    for epoch in range(3):
        curves.add({"train:loss": 3.0 - epoch, "validation:accuracy": epoch / 3}, 10.0 * epoch)
    seen = drawn(curves, width)
    assert "Loss" in seen
    assert "Accuracy" in seen
    assert max(map(len, seen.splitlines())) <= width


def test_what_the_kept_weights_reach_is_no_point_of_a_curve() -> None:
    curves, plain = (Curves() for _ in range(2))
    for epoch in range(3):
        curves.add({"validation:accuracy": epoch / 3}, 10.0 * epoch)
        plain.add({"validation:accuracy": epoch / 3}, 10.0 * epoch)
    curves.add({"kept_epoch": 1.0, "validation:accuracy": 0.9}, None)
    assert drawn(curves, 60) == drawn(plain, 60)
    assert drawn(curves, 60).strip()
