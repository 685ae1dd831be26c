"""How busy the machine was: utilisation over time, each core, network and disk, and the slowest operators."""

from __future__ import annotations

import math
from dataclasses import dataclass

import altair as alt
import numpy as np

from report import words
from report.charts.axes import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    SKY,
    colours,
    gradient_legend,
    line_legend,
    name_axis,
)
from report.charts.figure import Figure, Rows, Table, broken_lines, figure, named
from report.read.series import Array, Series

SYSTEM = {
    "cpu": ("CPU", BLUE),
    "memory": ("Memory", GREEN),
    "io_wait": ("I/O wait", ORANGE),
    "gpu": ("GPU", PINK),
    "gpu_memory": ("GPU memory", SKY),
}
TRAFFIC = {
    "network_receive": ("Received", BLUE),
    "network_transmit": ("Sent", ORANGE),
    "disk_read": ("Read from disk", GREEN),
    "disk_write": ("Written to disk", PINK),
}
_UNITS = {"gpu_power": ("GPU power", "W", 1.0)} | {
    name: (label, "MB/s", 1e-6) for name, (label, _) in TRAFFIC.items()
}
_UNITS |= {name: (label, "%", 1.0) for name, (label, _) in SYSTEM.items()}


@dataclass(frozen=True)
class Usage:
    """One kind of use over the whole job."""

    name: str
    unit: str
    median: float
    p95: float
    p99: float
    least: float
    most: float


def usage(series: Series) -> list[Usage]:
    """The machine in numbers, as SageMaker's own profiler report tables them."""
    rows = []
    for name in (*SYSTEM, "gpu_power", *TRAFFIC):
        values = series.system.get(name, np.empty(0))
        measured = values[np.isfinite(values)]
        if measured.size:
            label, unit, factor = _UNITS[name]
            median, p95, p99 = np.percentile(measured, [50, 95, 99]) * factor
            least, most = float(measured.min()) * factor, float(measured.max()) * factor
            figures = (round(float(value), 3) for value in (median, p95, p99, least, most))
            rows.append(Usage(label, unit, *figures))
    return rows


def _binned(time: Array, values: Array, columns: int = 240) -> tuple[Array, Array]:
    if len(time) <= columns:
        return time, values
    edges = np.linspace(time.min(), time.max() + 1e-9, columns + 1)
    place = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, columns - 1)
    used = np.unique(place)
    means = [
        float(np.nanmean(values[place == column])) if np.isfinite(values[place == column]).any() else math.nan
        for column in used
    ]
    return np.array([float(time[place == column].mean()) for column in used]), np.array(means)


def _clock(time: Array) -> tuple[Array, str, float]:
    """Time since the first sample, what the axis says of it, and how many seconds its unit has."""
    passed = time - np.nanmin(time)
    longest = float(np.nanmax(passed))
    unit, seconds = ("s", 1.0) if longest < 180 else ("min", 60.0) if longest < 10_800 else ("h", 3600.0)
    return passed / seconds, f"Time since the first sample ({unit})", seconds


def _time_axis(field: str, title: str) -> alt.X:
    return alt.X(field, title=title, scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickCount=8))


def utilisation_figure(series: Series) -> Figure | None:
    shown = {name: series.system[name] for name in SYSTEM if name in series.system}
    if not shown or len(series.time) < 2:
        return None
    time, title, unit = _clock(series.time)
    table = Rows("time", "value", "what")
    said = []
    for name, values in shown.items():
        table.add(*_binned(time, values), SYSTEM[name][0])
        measured = values[np.isfinite(values)]
        median, p95 = np.percentile(measured, [50, 95])
        said.append(f"{SYSTEM[name][0]} {median:.0f} % (95th percentile {p95:.0f} %)")
    labels = [SYSTEM[name][0] for name in shown]
    chart = broken_lines("system", size=2).encode(
        x=_time_axis("time:Q", title),
        y=alt.Y("value:Q", title="Utilisation (%)", scale=alt.Scale(domain=[0, 100])),
        color=colours("what:N", labels, [SYSTEM[name][1] for name in shown], line_legend()),
        strokeDash=alt.StrokeDash(
            "what:N",
            title=None,
            sort=labels,
            scale=alt.Scale(
                domain=labels,
                range=[
                    [1, 0]
                    if not name.endswith("memory") and name != "io_wait"
                    else [6, 3]
                    if name.endswith("memory")
                    else [2, 2]
                    for name in shown
                ],
            ),
        ),
        tooltip=[
            alt.Tooltip("what:N", title="What"),
            alt.Tooltip("time:Q", title=title, format=".1f"),
            alt.Tooltip("value:Q", title="%", format=".1f"),
        ],
    )
    caption = f"In the median: {'; '.join(said)}."
    if "gpu" not in shown:
        caption += " The machine has no GPU, or none was measured."
    tables: dict[str, Table] = {"system": table}
    layers: list[alt.Chart] = [chart]
    if series.interruptions:
        seconds = np.array(series.interruptions) - np.nanmin(series.time)
        tables["interruptions"] = {"time": (seconds / unit).tolist()}
        layers.append(
            alt.Chart(named("interruptions"))
            .mark_rule(color=INK, strokeDash=[4, 3], size=1.5)
            .encode(x="time:Q", tooltip=[alt.Tooltip("time:Q", title="Went on after an interruption")])
        )
        caption += " Dashed lines: the training went on after an interruption."
    return figure("utilisation", "Utilisation", caption, alt.layer(*layers), tables, 240)


def traffic_figure(series: Series) -> Figure | None:
    """Network and disk in MB/s."""
    shown = {
        name: series.system[name]
        for name in TRAFFIC
        if name in series.system and float(np.nanmax(series.system[name])) > 0
    }
    if not shown or len(series.time) < 2:
        return None
    time, title, _ = _clock(series.time)
    table = Rows("time", "value", "what")
    for name, values in shown.items():
        table.add(*_binned(time, values / 1e6), TRAFFIC[name][0])
    labels = [TRAFFIC[name][0] for name in shown]
    chart = broken_lines("traffic", size=2).encode(
        x=_time_axis("time:Q", title),
        y=alt.Y("value:Q", title="MB/s", axis=alt.Axis(tickCount=4)),
        color=colours("what:N", labels, [TRAFFIC[name][1] for name in shown], line_legend(columns=2)),
        tooltip=["what:N", alt.Tooltip("value:Q", title="MB/s", format=".3~g")],
    )
    peaks = [
        f"{TRAFFIC[name][0].lower()} {words.number(float(np.nanmax(values)) / 1e6)}"
        for name, values in shown.items()
    ]
    caption = f"Peaks in MB/s: {', '.join(peaks)}."
    return figure("traffic", "Network and disk", caption, chart, {"traffic": table}, 160)


def cores_figure(series: Series) -> Figure | None:
    """A heat map with a row for each core and each GPU of the first machine."""
    if len(series.cores) < 2 or len(series.core_time) < 2:
        return None
    time, title, _ = _clock(series.core_time)
    ends = [*time[1:].tolist(), float(2 * time[-1] - time[-2])]
    table = Rows("from", "to", "unit", "value")
    for name, values in series.cores.items():
        table.add(time, ends, name, values)
    row = 16 if len(series.cores) <= 16 else 8
    chart = (
        alt.Chart(named("cores"))
        .mark_rect()
        .encode(
            x=_time_axis("from:Q", title),
            x2="to:Q",
            y=alt.Y(
                "unit:N",
                title=None,
                sort=list(series.cores),
                scale=alt.Scale(paddingInner=0.1),
                axis=name_axis(),
            ),
            color=alt.Color(
                "value:Q",
                title="Busy (%)",
                scale=alt.Scale(scheme="viridis", domain=[0, 100]),
                legend=gradient_legend(),
            ),
            tooltip=[
                alt.Tooltip("unit:N", title="Unit"),
                alt.Tooltip("from:Q", title=title, format=".1f"),
                alt.Tooltip("value:Q", title="Busy (%)", format=".0f"),
            ],
        )
    )
    means = {name: float(np.nanmean(values)) for name, values in series.cores.items() if _known(values)}
    least, most = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    if means[most] - means[least] < 5:
        caption = f"All were about equally busy: {means[least]:.0f} to {means[most]:.0f} % on average."
    else:
        caption = f"On average {most} was the busiest with {means[most]:.0f} %, {least} the least with "
        caption += f"{means[least]:.0f} %."
    return figure(
        "cores", "Each core", caption, chart, {"cores": table}, max(60, row * len(series.cores) + 4)
    )


def _known(values: Array) -> bool:
    return bool(np.isfinite(values).any())
