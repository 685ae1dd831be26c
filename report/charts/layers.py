"""What happened inside the network: gradients, weight updates and activations, layer by layer over time.

A ResNet-50 has 161 parameters: as lines they are a tangle. So they are drawn as a heat map, input at the top
and output at the bottom, whose rows are merged (layers, blocks, then stages) until few enough to read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import altair as alt
import numpy as np

from report import words
from report.charts.axes import INK, RED, VALUE_LABEL, decades, gradient_legend, name_axis, step_axis
from report.charts.figure import Figure, Rows, Table, figure, named
from report.read.series import Array, Curve, Series

ROWS = 42
COLUMNS = 60
Merge = Literal["root-sum-square", "median", "mean"]


def group(names: list[str], limit: int = ROWS) -> dict[str, list[str]]:
    """Rows with the parameters that they stand for: names cut to the greatest depth with few enough rows.

    `layer1.0.conv1.weight` is cut to `layer1.0.conv1`, `layer1.0`, `layer1`.
    """
    # The last part of a parameter's name is weight or bias, which belong to one layer.
    stems = {name: name.rsplit(".", 1)[0] if name.endswith((".weight", ".bias")) else name for name in names}
    depth = max((stem.count(".") + 1 for stem in stems.values()), default=1)
    while True:
        rows: dict[str, list[str]] = {}
        for name, stem in stems.items():
            rows.setdefault(".".join(stem.split(".")[:depth]), []).append(name)
        if len(rows) <= limit or depth == 1:
            return rows
        depth -= 1


def merge(curves: list[Curve], how: Merge) -> Curve:
    """Several curves as one, on the steps that any of them has."""
    steps = np.unique(np.concatenate([item.step for item in curves]))
    values = np.full((len(curves), len(steps)), np.nan)
    present = np.zeros(values.shape, dtype=bool)
    for row, item in enumerate(curves):
        place = np.searchsorted(steps, item.step)
        values[row, place] = item.value
        present[row, place] = True
    broken = (present & ~np.isfinite(values)).any(axis=0)
    measured = np.isfinite(values)
    some = measured.any(axis=0)
    merged = np.full(len(steps), np.nan)
    inside = np.where(measured, values, np.nan)[:, some]
    if how == "root-sum-square":
        merged[some] = np.sqrt(np.nansum(np.square(inside), axis=0))
    else:
        merged[some] = np.nanmedian(inside, axis=0) if how == "median" else np.nanmean(inside, axis=0)
    merged[broken] = math.nan
    return Curve(steps, merged)


def bins(steps: Array, last: float = math.inf, columns: int = COLUMNS) -> Array:
    """Edges of at most `columns` stretches with at least one saved step each; none ends beyond `last`."""
    unique = np.unique(steps)
    if len(unique) <= columns:
        gap = float(np.median(np.diff(unique))) if len(unique) > 1 else 1.0
        return np.append(unique, min(unique[-1] + gap, max(last, unique[-1]) + 1))
    return np.linspace(unique[0], unique[-1] + 1e-6, columns + 1)


def cells(rows: Mapping[str, Curve], edges: Array) -> Table:
    """One cell per row and stretch: the median of its finite values, or a mark that there are others."""
    table = Rows("layer", "from", "to", "value", "what")
    for layer, values in rows.items():
        place = np.clip(np.searchsorted(edges, values.step, side="right") - 1, 0, len(edges) - 2)
        for column in np.unique(place):
            inside = values.value[place == column]
            finite = inside[np.isfinite(inside)]
            what = "broken" if len(finite) < len(inside) else "zero" if not finite.any() else "value"
            value = float(np.median(finite)) if what == "value" else None
            table.add(layer, float(edges[column]), float(edges[column + 1]), value, what)
    return table


def heat_map(
    id: str,
    title: str,
    caption: str,
    curves: Mapping[str, Curve],
    how: Merge,
    legend: str,
    log: bool,
    last: float,
) -> Figure | None:
    """`last`: the step that the training ended with."""
    if not curves:
        return None
    grouped = {
        row: merge([curves[name] for name in names], how) for row, names in group(list(curves)).items()
    }
    edges = bins(np.concatenate([item.step for item in grouped.values()]), last)
    table = cells(grouped, edges)
    finite = [value for value in table["value"] if isinstance(value, float)]
    values = np.array(finite or [1.0])
    places: list[float] = []
    if log:
        low, high = float(values.min()), float(values.max())
        # Fewer than one decade still gets one, so that noise does not look like an event.
        middle = math.sqrt(low * high)
        low, high = min(low, middle / 3), max(high, middle * 3)
        scale = alt.Scale(type="log", scheme="viridis", domain=[low, high])
        places = decades(low, high)
        places = places[:: math.ceil(len(places) / 5)]
    else:
        scale = alt.Scale(scheme="viridis", domain=[0, 1])
    row_height = 18 if len(grouped) <= 20 else 13
    order = list(grouped)
    x = step_axis(field="from:Q")
    y = alt.Y(
        "layer:N",
        title=None,
        sort=order,
        scale=alt.Scale(paddingInner=0.08),
        axis=name_axis(labelLimit=130, labelFontSize=11 if row_height > 13 else 10, labelOverlap=False),
    )
    tooltip = [
        alt.Tooltip("layer:N", title="Layer"),
        alt.Tooltip("from:Q", title="From step", format=","),
        alt.Tooltip("value:Q", title=legend, format=".3~g" if log else ".1%"),
    ]
    base = alt.Chart(named("cells"))
    colour = alt.Color(
        "value:Q",
        title=legend,
        scale=scale,
        legend=gradient_legend(
            titleLimit=320,
            labelOverlap="greedy",
            labelSeparation=8,
            format="~%" if not log else "~g",
            values=places or [0, 0.25, 0.5, 0.75, 1],
            labelExpr=VALUE_LABEL if log else alt.Undefined,
        ),
    )
    layers = [
        base.transform_filter("datum.what == 'value'")
        .mark_rect()
        .encode(x=x, x2="to:Q", y=y, color=colour, tooltip=tooltip)
    ]
    if "broken" in table["what"]:
        layers.append(
            base.transform_filter("datum.what == 'broken'")
            .mark_rect(color=RED)
            .encode(
                x=x,
                x2="to:Q",
                y=y,
                tooltip=[*tooltip[:2], alt.Tooltip("what_said:N", title=legend)],
            )
            .transform_calculate(what_said="'NaN or infinite'")
        )
        caption += " Red cells hold NaN or infinite values."
    if "zero" in table["what"]:
        layers.append(
            base.transform_filter("datum.what == 'zero'")
            .mark_rect(color="transparent", stroke=INK, strokeOpacity=0.45, strokeWidth=1)
            .encode(x=x, x2="to:Q", y=y, tooltip=[*tooltip[:2], alt.Tooltip("what_said:N", title=legend)])
            .transform_calculate(what_said="'exactly zero'")
        )
        caption += " Empty frames are exactly zero."
    if len(edges) - 1 < len(np.unique(np.concatenate([item.step for item in grouped.values()]))):
        each = math.ceil(len(next(iter(grouped.values()))) / (len(edges) - 1))
        caption += f" Each column is the median of about {each} saved steps."
    merged = len(curves) - len(grouped)
    if merged > 0:
        caption += f" {len(curves)} tensors in {len(grouped)} rows, input at the top."
    return figure(id, title, caption, alt.layer(*layers), {"cells": table}, row_height * len(grouped) + 4)


def gradients_figure(series: Series) -> Figure | None:
    curves = series.gradients
    if not curves:
        return None
    total = merge(list(curves.values()), "root-sum-square")
    finite = total.value[total.finite]
    if finite.size:
        caption = (
            f"The gradient of the whole network has a norm of {words.number(float(np.median(finite)))} in "
            f"the median, {words.number(float(finite.max()))} at most."
        )
    else:
        caption = "Gradients are NaN or infinite throughout."
    if not total.finite.all():
        caption += f" NaN or infinite from step {total.step[~total.finite][0]:,.0f}."
    return heat_map(
        "gradients",
        "Gradient norm by layer",
        caption,
        curves,
        "root-sum-square",
        "Norm of the gradient",
        True,
        series.last_step,
    )


def updates_figure(series: Series) -> Figure | None:
    curves = {name: values for name, values in series.updates.items() if len(values)}
    if not curves:
        return None
    every = np.concatenate([values.value[values.finite] for values in curves.values()])
    caption = "How far the weights moved between two saved steps, relative to their size."
    if every.size:
        caption += (
            f" Median {words.number(float(np.median(every)))}, largest {words.number(float(every.max()))}."
        )
    return heat_map(
        "updates",
        "Weight update ratio by layer",
        caption,
        curves,
        "median",
        "|change| / |weight|",
        True,
        series.last_step,
    )


def activations_figure(series: Series) -> Figure | None:
    curves = series.activations
    if not curves:
        return None
    last = {name: values.value[values.finite][-1] for name, values in curves.items() if values.finite.any()}
    caption = "Share of a layer's outputs that are above zero; a layer near 0 % is dead."
    if last:
        worst = min(last, key=lambda name: float(last[name]))
        caption += f" Lowest at the end: {worst} with {words.percent(float(last[worst]))}."
    return heat_map(
        "activations",
        "Active outputs by layer",
        caption,
        curves,
        "mean",
        "Active share",
        False,
        series.last_step,
    )
