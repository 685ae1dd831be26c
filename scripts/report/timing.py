"""Where the time went: the parts of a step, outliers, and how busy the machine was."""

from __future__ import annotations

import math
from dataclasses import dataclass

import altair as alt
import numpy as np

from scripts.report import words
from scripts.report.charts import BLUE, GREEN, GREY, INK, ORANGE, PINK, RED, SKY, Figure, figure, named
from scripts.report.data import PHASES, Array, Series

PHASE_COLOURS = dict(zip(PHASES, (ORANGE, PINK, SKY, BLUE, GREEN, GREY), strict=True))
COLUMNS = 120
SYSTEM = {
    "cpu": ("CPU", BLUE),
    "memory": ("Memory", GREEN),
    "io_wait": ("I/O wait", ORANGE),
    "gpu": ("GPU", PINK),
    "gpu_memory": ("GPU memory", SKY),
}


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


def _train(series: Series) -> Array:
    return np.array([mode != "EVAL" for mode in series.mode], dtype=bool) & np.isfinite(series.total_ms)


def _limit(total: Array) -> float:
    """Milliseconds above which a step stands out: far above the middle half, and twice the median at least."""
    low, middle, high = np.percentile(total, [25, 50, 75])
    return float(max(2 * middle, high + 6 * (high - low)))


def step_numbers(series: Series) -> Steps | None:
    kept = _train(series)
    total = series.total_ms[kept]
    if not total.size:
        return None
    whole = max(float(total.sum()), 1e-9)
    shares = [
        Share(PHASES[phase], PHASE_COLOURS[phase], float(np.median(values[kept])), float(np.percentile(values[kept], 95)),
              float(values[kept].sum()) / whole)
        for phase, values in series.phases.items()
    ]  # fmt: skip
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
    edges = np.linspace(step.min(), step.max() + 1, min(COLUMNS, max(1, int(step.max() - step.min()) + 1)) + 1)
    place = np.clip(np.searchsorted(edges, step, side="right") - 1, 0, len(edges) - 2)
    table: dict[str, list[object]] = {key: [] for key in ("from", "to", "part", "ms", "bottom", "top")}
    top = 0.0
    for column in np.unique(place):
        inside = (place == column) & usual
        if not inside.any():
            continue
        means = {phase: float(values[kept][inside].mean()) for phase, values in series.phases.items()}
        height = 0.0
        for phase, mean in means.items():
            table["from"].append(float(edges[column]))
            table["to"].append(float(edges[column + 1]))
            table["part"].append(PHASES[phase])
            table["ms"].append(mean)
            table["bottom"].append(height)
            height += mean
            table["top"].append(height)
        top = max(top, height)
    ceiling = max(top * 1.25, 1e-3)
    slow = ~usual
    outliers = {
        "step": step[slow].tolist(),
        "ms": np.minimum(total[slow], ceiling).tolist(),
        "real": total[slow].tolist(),
        "above": (total[slow] > ceiling).tolist(),
    }
    colour = alt.Color(
        "part:N", title=None, sort=list(PHASES.values()),
        scale=alt.Scale(domain=list(PHASES.values()), range=list(PHASE_COLOURS.values())),
        legend=alt.Legend(orient="top", symbolType="square", columns=3),
    )  # fmt: skip
    x = alt.X("from:Q", title="Step", scale=alt.Scale(zero=False, nice=False),
              axis=alt.Axis(format=",~d", tickMinStep=1, tickCount=8, grid=False))
    y = alt.Y("bottom:Q", title="Time of a step (ms)", scale=alt.Scale(domain=[0, ceiling], nice=False), axis=alt.Axis(tickCount=6))
    bars = (
        alt.Chart(named("parts"))
        .mark_rect()
        .encode(
            x=x, x2="to:Q", y=y, y2="top:Q", color=colour,
            tooltip=[alt.Tooltip("part:N", title="Part"), alt.Tooltip("from:Q", title="From step", format=",.0f"),
                     alt.Tooltip("ms:Q", title="Mean (ms)", format=",.3~g")],
        )
    )  # fmt: skip
    layers: list[alt.Chart] = [bars]
    caption = (f"A step takes {words.milliseconds(summary.median)} in the median and "
               f"{words.milliseconds(summary.p95)} in the 95th percentile.")  # fmt: skip
    if slow.any():
        layers.append(
            alt.Chart(named("outliers"))
            .mark_point(color=RED, filled=True, size=55, stroke=INK, strokeWidth=0.5)
            .encode(
                x=alt.X("step:Q"), y=alt.Y("ms:Q"),
                shape=alt.condition("datum.above", alt.value("triangle-up"), alt.value("circle")),
                tooltip=[alt.Tooltip("step:Q", title="Step", format=","), alt.Tooltip("real:Q", title="Time (ms)", format=",.4~g")],
            )
        )  # fmt: skip
        count = int(slow.sum())
        stands = "stands" if count == 1 else "stand"
        caption += (f" {words.plural(count, 'step')} {stands} out (red, not part of the bars); the slowest is step "
                    f"{summary.slowest_step:,.0f} with {words.milliseconds(summary.slowest)}.")  # fmt: skip
        if any(outliers["above"]):
            caption += " Triangles lie above the edge."
    return figure("steps", "Time of a training step", caption, alt.layer(*layers),
                  {"parts": table, "outliers": outliers}, 280)  # fmt: skip


def _binned(time: Array, values: Array, columns: int = 240) -> tuple[Array, Array]:
    if len(time) <= columns:
        return time, values
    edges = np.linspace(time.min(), time.max() + 1e-9, columns + 1)
    place = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, columns - 1)
    used = np.unique(place)
    means = [float(np.nanmean(values[place == column])) if np.isfinite(values[place == column]).any() else math.nan
             for column in used]
    return np.array([float(time[place == column].mean()) for column in used]), np.array(means)


def _clock(time: Array) -> tuple[Array, str]:
    passed = time - np.nanmin(time)
    if np.nanmax(passed) < 180:
        return passed, "Time since the first sample (s)"
    return (passed / 60, "Time since the first sample (min)") if np.nanmax(passed) < 10_800 else (
        passed / 3600, "Time since the first sample (h)")


def utilisation_figure(series: Series) -> Figure | None:
    shown = {name: series.system[name] for name in SYSTEM if name in series.system}
    if not shown or len(series.time) < 2:
        return None
    time, title = _clock(series.time)
    table: dict[str, list[object]] = {"time": [], "value": [], "what": []}
    said = []
    for name, values in shown.items():
        x, y = _binned(time, values)
        table["time"] += x.tolist()
        table["value"] += y.tolist()
        table["what"] += [SYSTEM[name][0]] * len(x)
        known = values[np.isfinite(values)]
        said.append(f"{SYSTEM[name][0]} {np.median(known):.0f} % (95th percentile {np.percentile(known, 95):.0f} %)")
    labels = [SYSTEM[name][0] for name in shown]
    chart = (
        alt.Chart(named("system"))
        .mark_line(size=2, invalid="break-paths-filter-domains")
        .encode(
            x=alt.X("time:Q", title=title, scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickCount=8)),
            y=alt.Y("value:Q", title="Utilisation (%)", scale=alt.Scale(domain=[0, 100])),
            color=alt.Color("what:N", title=None, sort=labels,
                            scale=alt.Scale(domain=labels, range=[SYSTEM[name][1] for name in shown]),
                            legend=alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3)),
            strokeDash=alt.StrokeDash("what:N", title=None, sort=labels, scale=alt.Scale(
                domain=labels, range=[[1, 0] if not name.endswith("memory") and name != "io_wait" else
                                      [6, 3] if name.endswith("memory") else [2, 2] for name in shown])),
            tooltip=[alt.Tooltip("what:N", title="What"), alt.Tooltip("time:Q", title=title, format=".1f"),
                     alt.Tooltip("value:Q", title="%", format=".1f")],
        )
    )  # fmt: skip
    caption = f"In the median: {'; '.join(said)}."
    if "gpu" not in shown:
        caption += " The machine has no GPU, or none was measured."
    return figure("utilisation", "Utilisation", caption, chart, {"system": table}, 240)


def network_figure(series: Series) -> Figure | None:
    labels = {"network_receive": "Received", "network_transmit": "Sent"}
    shown = {name: series.system[name] for name in labels if name in series.system}
    if not shown or len(series.time) < 2 or max(float(np.nanmax(values)) for values in shown.values()) <= 0:
        return None
    time, title = _clock(series.time)
    table: dict[str, list[object]] = {"time": [], "value": [], "what": []}
    for name, values in shown.items():
        x, y = _binned(time, values / 1e6)
        table["time"] += x.tolist()
        table["value"] += y.tolist()
        table["what"] += [labels[name]] * len(x)
    chart = (
        alt.Chart(named("network"))
        .mark_line(size=2, invalid="break-paths-filter-domains")
        .encode(
            x=alt.X("time:Q", title=title, scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickCount=8)),
            y=alt.Y("value:Q", title="Network (MB/s)"),
            color=alt.Color("what:N", title=None, scale=alt.Scale(domain=list(labels.values()), range=[BLUE, ORANGE]),
                            legend=alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3)),
            tooltip=["what:N", alt.Tooltip("value:Q", title="MB/s", format=".3~g")],
        )
    )  # fmt: skip
    peak = {labels[name]: float(np.nanmax(values)) / 1e6 for name, values in shown.items()}
    caption = f"Peaks: {'; '.join(f'{name.lower()} {words.number(value)} MB/s' for name, value in peak.items())}."
    return figure("network", "Network", caption, chart, {"network": table}, 160)
