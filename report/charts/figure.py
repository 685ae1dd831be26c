"""The form in which a chart reaches the page, and the marks that charts share.

A chart is a Vega-Lite specification (made and checked by Altair) and its data, kept apart: the data travel as
columns, which is a third of the size of rows. Ink (text, axes, grid) is coloured by the page's style sheet,
so that light, dark and paper need no second drawing; only data have a colour here, one that holds on all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import numpy as np

from report.charts.axes import RED
from report.read.series import Array
from report.verdicts import Finding

Column = Sequence[Any]
Table = Mapping[str, Column]


class Rows(dict[str, list[Any]]):
    """A table while it grows: columns of these names."""

    def __init__(self, *names: str) -> None:
        super().__init__((name, []) for name in names)

    def add(self, *values: Any) -> None:
        """A row; where values are lists or arrays, as many rows, with the other values in each."""
        several = [len(value) for value in values if isinstance(value, list | np.ndarray)]
        count = several[0] if several else 1
        for column, value in zip(self.values(), values, strict=True):
            column += list(value) if isinstance(value, list | np.ndarray) else [value] * count


@dataclass
class Figure:
    """A chart on its way to the page.

    `caption` says what can be seen in it, `spec` is Vega-Lite without data, `tables` the data by name.
    """

    id: str
    title: str
    caption: str
    spec: dict[str, Any]
    tables: dict[str, Table] = field(default_factory=dict)
    wide: bool = True


def figure(
    id: str, title: str, caption: str, chart: Any, tables: Mapping[str, Table], height: int, wide: bool = True
) -> Figure:
    """Finish a chart: as wide as its place, `height` pixels high; its values made fit for JSON."""
    spec: dict[str, Any] = chart.properties(
        width="container", height=height, autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    ).to_dict(validate=False)  # the tests hold every specification against the schema
    for key in ("$schema", "config"):  # the page has one configuration for all
        spec.pop(key, None)
    spec["description"] = f"{title}. {caption}"
    clean: dict[str, Table] = {
        name: {key: plain(column) for key, column in table.items()} for name, table in tables.items()
    }
    return Figure(id, title, caption, spec, clean, wide)


def plain(column: Column | Array) -> list[Any]:
    """JSON values: five significant digits, null for NaN and inf (charts mark those separately)."""
    return [_plain(value) for value in column]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.5g}")
    return value


def named(name: str) -> alt.NamedData:
    return alt.NamedData(name=name)


def broken_lines(name: str, **mark: Any) -> alt.Chart:
    """Lines with gaps where values are NaN or infinite."""
    lines: alt.Chart = alt.Chart(named(name)).mark_line(invalid="break-paths-filter-domains", **mark)
    return lines


def broken_marks(name: str, what: str) -> alt.Chart:
    """Crosses along the upper edge for values that are NaN or infinite and so have no height of their own."""
    marks: alt.Chart = (
        alt.Chart(named(name))
        .mark_point(shape="cross", angle=45, size=70, color=RED, filled=True, opacity=0.9, clip=False)
        .encode(
            x=alt.X("step:Q"),
            y=alt.value(7),
            tooltip=[alt.Tooltip("step:Q", title="Step", format=","), alt.Tooltip("what:N", title=what)],
        )
    )
    return marks


MARKED_PLACES = 4


def finding_marks(findings: Sequence[Finding], last: float) -> tuple[list[alt.Chart], dict[str, Table]]:
    """Where rules found something: a named line at each rule's first step, ticks below for the others."""
    located = sorted((item for item in findings if math.isfinite(item.step)), key=lambda item: item.step)
    if not located:
        return [], {}
    seen: set[str] = set()
    places: dict[float, list[Finding]] = {}
    for item in located:
        if item.rule not in seen:
            seen.add(item.rule)
            places.setdefault(item.step, []).append(item)
    shown = list(places.items())[:MARKED_PLACES]
    tables: dict[str, Table] = {
        "finding_ticks": {
            "step": [item.step for item in located[:400]],
            "rule": [item.rule for item in located[:400]],
            "message": [item.message[:300] for item in located[:400]],
        }
    }
    tooltip = [
        alt.Tooltip("rule:N", title="Rule"),
        alt.Tooltip("step:Q", title="Step", format=","),
        alt.Tooltip("message:N", title="Finding"),
    ]
    layers = [
        alt.Chart(named("finding_ticks"))
        .mark_tick(color=RED, thickness=2, size=10, opacity=0.8)
        .encode(x="step:Q", y=alt.value("height"), tooltip=tooltip)
    ]
    for row, (step, items) in enumerate(shown):
        name = f"finding_{row}"
        more = f" and {len(items) - 1} more" if len(items) > 1 else ""
        tables[name] = {
            "step": [step],
            "rule": [f"{items[0].rule}{more}, step {step:,.0f}"],
            "message": [" ".join(f"{item.rule}: {item.message[:300]}" for item in items)],
        }
        base = alt.Chart(named(name))
        left = step < 0.55 * last
        layers.append(
            base.mark_rule(color=RED, strokeDash=[4, 3], size=1.5).encode(x="step:Q", tooltip=tooltip)
        )
        layers.append(
            base.mark_text(
                color=RED,
                align="left" if left else "right",
                dx=5 if left else -5,
                baseline="middle",
                fontWeight=600,
                fontSize=11,
                stroke=None,
            ).encode(x="step:Q", y=alt.value(20 + 15 * row), text="rule:N", tooltip=tooltip)
        )
    return layers, tables
