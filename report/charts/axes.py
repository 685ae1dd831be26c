"""Colours, axes and legends, which are the same in all charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from report.read.series import Array

BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY, OLIVE = (
    "#2b87c8",
    "#e08a00",
    "#12966c",
    "#c66aa0",
    "#5bb5ea",
    "#d9480f",
    "#8a929c",
    "#a88a00",
)
"""Okabe and Ito's palette, its extreme tones moved until they can be seen on white and on black."""
JOBS = (BLUE, ORANGE, GREEN, PINK, SKY, OLIVE, RED, GREY)
INK = "currentColor"
DECADES = 30.0
"""A series whose largest value is this many times the smallest gets a logarithmic axis."""
SPLITS = {"train": ("Training", BLUE), "validation": ("Validation", ORANGE), "test": ("Test", GREEN)}
"""The parts of a data set: what they are called, and their colours."""

VALUE_LABEL = (
    "datum.value == 0 || (abs(datum.value) >= 0.001 && abs(datum.value) < 100000)"
    " ? format(datum.value, ',~g') : format(datum.value, '.0e')"
)


def spans_decades(values: Array) -> bool:
    finite = values[np.isfinite(values) & (values > 0)]
    return bool(finite.size and not (values <= 0).any() and finite.max() / finite.min() > DECADES)


def value_axis(title: str, values: Array, *, zero: bool = True, **more: Any) -> alt.Y:
    """The y axis for `value`: logarithmic where the values span decades, and saying so."""
    if spans_decades(values):
        scale = alt.Scale(type="log", nice=False, **{"padding": 8, **more})
        finite = values[np.isfinite(values)]
        places = decades(float(finite.min()), float(finite.max()))
        axis = alt.Axis(labelExpr=VALUE_LABEL, values=places) if places else alt.Axis(labelExpr=VALUE_LABEL)
        return alt.Y("value:Q", title=f"{title}, logarithmic", scale=scale, axis=axis)
    scale = alt.Scale(zero=zero, nice=True, **more)
    return alt.Y("value:Q", title=title, scale=scale, axis=alt.Axis(labelExpr=VALUE_LABEL, tickCount=6))


def decades(low: float, high: float) -> list[float]:
    """Round values for a logarithmic axis: powers of ten, with 2 and 5 between them where they are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, (last - first) // 8)
    for digits in ((1,), (1, 3), (1, 2, 5)):
        places = [digit * 10.0**power for power in range(first, last + 1, stride) for digit in digits]
        inside = [place for place in places if low * 0.999 <= place <= high * 1.001]
        if len(inside) >= 3:
            return inside
    return inside


def step_axis(title: str = "Step", field: str = "step:Q") -> alt.X:
    """The x axis for training steps, or for what stands in their place. Stretches begin at `from`."""
    from_zero = title == "Step" and field == "step:Q"
    return alt.X(
        field,
        title=title,
        scale=alt.Scale(domainMin=0 if from_zero else alt.Undefined, zero=False, nice=False),
        axis=alt.Axis(format=",~d", tickMinStep=1, tickCount=8, grid=False),
    )


def share_axis(title: str) -> alt.Y:
    """The y axis for a `value` that is a share, from 0 to 100 %."""
    return alt.Y(
        "value:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="~%", tickCount=6)
    )


def name_axis(**more: Any) -> alt.Axis:
    """The axis of rows or columns that have names: no line, no ticks, no grid."""
    return alt.Axis(ticks=False, domain=False, grid=False, **more)


def line_legend(**more: Any) -> alt.Legend:
    """Above a chart of lines: pieces of them."""
    return alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1, **more)


def block_legend(**more: Any) -> alt.Legend:
    """Above a chart of bars or areas: squares."""
    return alt.Legend(orient="top", symbolType="square", **more)


def gradient_legend(**more: Any) -> alt.Legend:
    """Above a heat map: its colours in a row."""
    return alt.Legend(
        **{
            "orient": "top",
            "direction": "horizontal",
            "gradientLength": 220,
            "gradientThickness": 10,
            **more,
        }
    )


def colours(
    field: str,
    names: Sequence[Any],
    tones: Sequence[str],
    legend: alt.Legend | None,
    title: str | None = None,
) -> alt.Color:
    """A colour for each name, in this order in the legend."""
    scale = alt.Scale(domain=list(names), range=list(tones))
    return alt.Color(field, title=title, sort=list(names), scale=scale, legend=legend)
