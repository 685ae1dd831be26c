"""Where the time of a step went: its parts, the outliers, and how often it took how long."""

from __future__ import annotations

from dataclasses import dataclass

import altair as alt
import numpy as np
from numpy.typing import NDArray

from report import words
from report.charts.axes import (
    BLUE,
    GREEN,
    GREY,
    INK,
    OLIVE,
    ORANGE,
    PINK,
    RED,
    SKY,
    block_legend,
    colours,
    step_axis,
)
from report.charts.figure import Figure, Rows, figure, named
from report.read.series import PHASES, Array, Series

PHASE_COLOURS = dict(zip(PHASES, (ORANGE, PINK, SKY, BLUE, GREEN, GREY, OLIVE), strict=True))
COLUMNS = 120


@dataclass(frozen=True)
class Share:
    """One part of the steps: milliseconds a step and share of the whole."""

    name: str
    colour: str
    median: float
    p95: float
    share: float


@dataclass(frozen=True)
class Steps:
    """The training steps in numbers; times in milliseconds."""

    count: int
    median: float
    p95: float
    slowest: float
    slowest_step: float
    first: float
    outliers: int
    shares: list[Share]


def _train(series: Series) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = np.array([mode != "EVAL" for mode in series.mode], dtype=bool)
    kept &= np.isfinite(series.total_ms)
    return kept


def _limit(total: Array) -> float:
    """Milliseconds from which a step stands out: far above the middle half, and twice the median at least."""
    low, middle, high = np.percentile(total, [25, 50, 75])
    return float(max(2 * middle, high + 6 * (high - low)))


def step_numbers(series: Series) -> Steps | None:
    kept = _train(series)
    total = series.total_ms[kept]
    if not total.size:
        return None
    whole = max(float(total.sum()), 1e-9)
    shares = [
        Share(
            PHASES[phase],
            PHASE_COLOURS[phase],
            float(np.median(values[kept])),
            float(np.percentile(values[kept], 95)),
            float(values[kept].sum()) / whole,
        )
        for phase, values in series.phases.items()
    ]
    slowest = int(total.argmax())
    return Steps(
        count=len(total),
        median=float(np.median(total)),
        p95=float(np.percentile(total, 95)),
        slowest=float(total[slowest]),
        slowest_step=float(series.step[kept][slowest]),
        first=float(total[0]),
        outliers=int((total > _limit(total)).sum()),
        shares=shares,
    )


def steps_figure(series: Series) -> Figure | None:
    """Stacked mean parts of each stretch of steps; single steps that stand out as points above them."""
    summary = step_numbers(series)
    if summary is None:
        return None
    kept = _train(series)
    step, total = series.step[kept], series.total_ms[kept]
    limit = _limit(total)
    usual = total <= limit
    edges = np.linspace(
        step.min(), step.max() + 1, min(COLUMNS, max(1, int(step.max() - step.min()) + 1)) + 1
    )
    place = np.clip(np.searchsorted(edges, step, side="right") - 1, 0, len(edges) - 2)
    table = Rows("from", "to", "part", "ms", "bottom", "top")
    top = 0.0
    for column in np.unique(place):
        inside = (place == column) & usual
        if not inside.any():
            continue
        means = {phase: float(values[kept][inside].mean()) for phase, values in series.phases.items()}
        height = 0.0
        for phase, mean in means.items():
            stretch = float(edges[column]), float(edges[column + 1])
            table.add(*stretch, PHASES[phase], mean, height, height + mean)
            height += mean
        top = max(top, height)
    ceiling = max(top * 1.25, 1e-3)
    slow = ~usual
    outliers = {
        "step": step[slow].tolist(),
        "ms": np.minimum(total[slow], ceiling).tolist(),
        "real": total[slow].tolist(),
        "above": (total[slow] > ceiling).tolist(),
    }
    colour = colours("part:N", list(PHASES.values()), list(PHASE_COLOURS.values()), block_legend(columns=4))
    y = alt.Y(
        "bottom:Q",
        title="Time of a step (ms)",
        scale=alt.Scale(domain=[0, ceiling], nice=False),
        axis=alt.Axis(tickCount=6),
    )
    bars = (
        alt.Chart(named("parts"))
        .mark_rect()
        .encode(
            x=step_axis(field="from:Q"),
            x2="to:Q",
            y=y,
            y2="top:Q",
            color=colour,
            tooltip=[
                alt.Tooltip("part:N", title="Part"),
                alt.Tooltip("from:Q", title="From step", format=",.0f"),
                alt.Tooltip("ms:Q", title="Mean (ms)", format=",.3~g"),
            ],
        )
    )
    layers: list[alt.Chart] = [bars]
    caption = (
        f"A step takes {words.milliseconds(summary.median)} in the median and "
        f"{words.milliseconds(summary.p95)} in the 95th percentile."
    )
    if slow.any():
        layers.append(
            alt.Chart(named("outliers"))
            .mark_point(color=RED, filled=True, size=55, stroke=INK, strokeWidth=0.5)
            .encode(
                x=alt.X("step:Q"),
                y=alt.Y("ms:Q"),
                shape=alt.condition("datum.above", alt.value("triangle-up"), alt.value("circle")),
                tooltip=[
                    alt.Tooltip("step:Q", title="Step", format=","),
                    alt.Tooltip("real:Q", title="Time (ms)", format=",.4~g"),
                ],
            )
        )
        count = int(slow.sum())
        stands = "stands" if count == 1 else "stand"
        caption += (
            f" {words.plural(count, 'step')} {stands} out (red, not part of the bars); the slowest is step "
            f"{summary.slowest_step:,.0f} with {words.milliseconds(summary.slowest)}."
        )
        if any(outliers["above"]):
            caption += " Triangles lie above the edge."
    return figure(
        "steps",
        "Time of a training step",
        caption,
        alt.layer(*layers),
        {"parts": table, "outliers": outliers},
        280,
    )


def histogram_figure(series: Series) -> Figure | None:
    """How many steps took how long; the longest ones share the last bar."""
    kept = _train(series)
    total = series.total_ms[kept]
    if total.size < 20:
        return None
    ceiling = float(np.percentile(total, 99)) * 1.05
    edges = np.linspace(float(total.min()) * 0.98, max(ceiling, float(total.min()) + 1e-3), 41)
    counts, _ = np.histogram(np.minimum(total, edges[-1] - 1e-9), edges)
    table = {"from": edges[:-1].tolist(), "to": edges[1:].tolist(), "count": counts.tolist()}
    chart = (
        alt.Chart(named("histogram"))
        .mark_rect(color=BLUE)
        .encode(
            x=alt.X(
                "from:Q",
                title="Time of a step (ms)",
                scale=alt.Scale(zero=False, nice=False),
                axis=alt.Axis(grid=False, tickCount=8),
            ),
            x2="to:Q",
            y=alt.Y("count:Q", title="Steps", axis=alt.Axis(tickMinStep=1, tickCount=5)),
            y2=alt.datum(0),
            tooltip=[
                alt.Tooltip("from:Q", title="From (ms)", format=",.4~g"),
                alt.Tooltip("to:Q", title="To (ms)", format=",.4~g"),
                alt.Tooltip("count:Q", title="Steps", format=","),
            ],
        )
    )
    longer = int((total > edges[-1]).sum())
    caption = f"{words.plural(len(total), 'step')}; half of them took between "
    low, high = np.percentile(total, [25, 75])
    caption += f"{words.milliseconds(float(low))} and {words.milliseconds(float(high))}."
    if longer:
        caption += f" The last bar also holds the longer ones: {longer:,}."
    return figure("histogram", "How long steps take", caption, chart, {"histogram": table}, 180)
