"""Charts as a PNG: the same figures as in the report, with no script."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from report import picture
from report.read.inputs import ReportInputs
from tests.report import samples

Draw = Callable[[Any], picture.Picture | None]


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Draw:
    def drawn(inputs: ReportInputs) -> picture.Picture | None:
        monkeypatch.setattr(picture, "collect", lambda clients, name: inputs)
        return picture.training_curves(None, "job")  # type: ignore[arg-type]

    return drawn


def colours(shown: picture.Picture) -> set[tuple[int, ...]]:
    with Image.open(io.BytesIO(shown.png)) as image:
        assert image.format == "PNG"
        assert image.width > 900
        found = image.convert("RGB").getcolors(1 << 24)
    return {colour for _, colour in found or ()}  # type: ignore[misc]


def near(wanted: tuple[int, int, int], shown: picture.Picture) -> bool:
    return any(sum(abs(a - b) for a, b in zip(wanted, colour, strict=True)) < 24 for colour in colours(shown))


def test_a_training_has_its_curves_and_its_findings(draw: Draw) -> None:
    healthy, diverging = draw(samples.healthy()), draw(samples.diverging())
    assert healthy is not None
    assert diverging is not None
    assert "Training loss fell from" in healthy.caption
    assert "Training loss did not fall" in diverging.caption
    red, blue = (217, 72, 15), (43, 135, 200)
    assert near(blue, healthy)
    assert near(blue, diverging)
    assert near(red, diverging)  # the line of LossNotDecreasing
    assert len(diverging.png) < 150_000


def test_a_training_without_metrics_has_no_picture(draw: Draw) -> None:
    assert draw(ReportInputs("job", {})) is None


def test_broken_losses_are_drawn(draw: Draw) -> None:
    assert draw(samples.diverging("nan", nan=True))


def test_a_tuning_job_has_its_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    job = samples.tuning()
    monkeypatch.setattr(picture, "look", lambda clients, name: job)
    shown = picture.tuning_curves(None, "tuning")  # type: ignore[arg-type]
    assert shown is not None
    assert near((18, 150, 108), shown)  # the best so far
    assert "best" in shown.caption


def test_jupyter_shows_the_picture_and_reads_out_its_caption() -> None:
    assert picture.Picture(b"png", "It fell.")._repr_mimebundle_() == {
        "image/png": b"png",
        "text/plain": "It fell.",
    }
