"""What each of several processes computed on its own share of the batches: one line a rank."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np

from report import words
from report.charts.axes import (
    JOBS,
    colours,
    gradient_legend,
    line_legend,
    spans_decades,
    step_axis,
    value_axis,
)
from report.charts.curves import thin_steps
from report.charts.figure import Figure, Rows, Table, broken_lines, broken_marks, figure
from report.read.series import Curve, Series, smooth, thin

POINTS = 300
"""Of one rank that are drawn; fewer of each where there are many ranks."""
ALL_POINTS = 20_000


def rank_losses_figure(series: Series) -> Figure | None:
    """The loss of each rank before it is averaged."""
    return _figure(
        "rank-losses",
        "Loss of each rank",
        "Loss (cross-entropy, nats)",
        {rank: part.loss for rank, part in series.ranks.items()},
        smoothed=True,
    )


def rank_gradients_figure(series: Series) -> Figure | None:
    """The norm of each rank's gradient before gradients are averaged."""
    return _figure(
        "rank-gradients",
        "Gradient norm of each rank, before averaging",
        "Norm of the gradient",
        {rank: part.gradient for rank, part in series.ranks.items()},
        smoothed=False,
    )


def _figure(
    id: str, title: str, y_title: str, curves: Mapping[str, Curve], *, smoothed: bool
) -> Figure | None:
    curves = {rank: values for rank, values in curves.items() if len(values)}
    if len(curves) < 2:
        return None
    table, broken = Rows("step", "value", "rank"), Rows("step", "what")
    caption = _middle(curves)
    averaged = False
    last = max(float(values.step[-1]) for values in curves.values())
    for rank, values in curves.items():
        drawn = values
        if smoothed and len(values) > 60:
            drawn, averaged = smooth(values, geometric=spans_decades(values.value)), True
        drawn = thin(drawn, max(30, min(POINTS, ALL_POINTS // len(curves))))
        table.add(drawn.step, drawn.value, int(rank))
        wrong = values.step[~values.finite]
        if len(wrong):
            broken.add(thin_steps(wrong, last), f"rank {rank} is NaN or infinite")
            caption += f" Rank {rank} is NaN or infinite from step {wrong[0]:,.0f} on."
    if averaged:
        caption += " Lines are moving averages."
    x = step_axis()
    lines = broken_lines("ranks", size=2, opacity=0.85).encode(
        x=x,
        y=value_axis(y_title, np.array(table["value"])),
        color=_colour(list(curves)),
        detail="rank:N",
        tooltip=[
            alt.Tooltip("rank:Q", title="Rank"),
            alt.Tooltip("step:Q", title="Step", format=","),
            alt.Tooltip("value:Q", title=y_title, format=".4~g"),
        ],
    )
    tables: dict[str, Table] = {"ranks": table}
    layers: list[alt.Chart] = [lines]
    if broken["step"]:
        tables["broken"] = broken
        layers.append(broken_marks("broken", "What"))
    return figure(id, title, caption, alt.layer(*layers), tables, 240, wide=False)


def _middle(curves: Mapping[str, Curve]) -> str:
    """Between which values the ranks' medians lie, and whose are the lowest and the highest."""
    middles = {
        rank: float(np.median(values.value[values.finite]))
        for rank, values in curves.items()
        if values.finite.any()
    }
    if not middles:
        return "NaN or infinite throughout."
    low, high = min(middles, key=middles.__getitem__), max(middles, key=middles.__getitem__)
    least, most = words.number(middles[low]), words.number(middles[high])
    if least == most:
        return f"{len(curves)} ranks; the median of each is {most}."
    return f"{len(curves)} ranks; their medians lie between {least} (rank {low}) and {most} (rank {high})."


def _colour(ranks: list[str]) -> alt.Color:
    """A colour for each rank while there are enough of them; of many ranks only the order can be seen."""
    if len(ranks) > len(JOBS):
        legend = gradient_legend(gradientLength=160, tickCount=4, format="d")
        return alt.Color("rank:Q", title="Rank", scale=alt.Scale(scheme="viridis"), legend=legend)
    return colours("rank:N", list(map(int, ranks)), JOBS[: len(ranks)], line_legend(), title="Rank")
