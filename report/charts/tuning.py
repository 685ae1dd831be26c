"""How a tuning job searched: its objective by trial and by setting, and when the trials ran."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from report import words
from report.charts.axes import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    colours,
    decades,
    gradient_legend,
    name_axis,
    value_axis,
)
from report.charts.figure import Figure, Rows, figure, named
from report.read.trials import Trial
from report.read.tuning import TuningJob
from report.read.values import mapping, sequence

STATUS_COLOURS = {"Completed": BLUE, "Stopped": ORANGE, "InProgress": GREY, "Failed": RED}


def parameters(job: TuningJob) -> dict[str, str]:
    """The tuned settings with their kind: linear, log or category; in the order of the job's ranges."""
    ranges = mapping(job.config.get("ParameterRanges")) or mapping(job.definition.get("HyperParameterRanges"))
    kinds: dict[str, str] = {}
    for key in ("ContinuousParameterRanges", "IntegerParameterRanges"):
        for raw in sequence(ranges.get(key)):
            item = mapping(raw)
            low, high = _float(item.get("MinValue")), _float(item.get("MaxValue"))
            wide = low > 0 and high / low > 30
            log = str(item.get("ScalingType")) == "Logarithmic" or wide
            kinds[str(item.get("Name"))] = "log" if log and low > 0 else "linear"
    for raw in sequence(ranges.get("CategoricalParameterRanges")):
        kinds[str(mapping(raw).get("Name"))] = "category"
    for one in job.trials:
        for name, value in one.tuned.items():
            kinds.setdefault(name, "linear" if math.isfinite(_float(value)) else "category")
    return kinds


def setting(text: str) -> str:
    """A setting's value with four significant digits, if it is a number: 0.0044303752 is 0.00443."""
    value = _float(text)
    return f"{value:.4g}" if math.isfinite(value) else text


def _order(text: str) -> tuple[bool, float, str]:
    """Numbers by size and before words: 16, 32, 128."""
    value = _float(text)
    return (not math.isfinite(value), value if math.isfinite(value) else 0.0, text)


def _float(text: object) -> float:
    try:
        return float(str(text).strip('"'))
    except ValueError:
        return math.nan


def _table(job: TuningJob, trials: list[Trial]) -> dict[str, list[Any]]:
    best = job.best
    return {
        "number": [item.number for item in trials],
        "trial": [item.name for item in trials],
        "status": [item.status for item in trials],
        "value": [item.objective for item in trials],
        "best": [item is best for item in trials],
        "settings": list(map(_settings, trials)),
    }


def _settings(trial: Trial) -> str:
    return ", ".join(f"{key}={value}" for key, value in trial.tuned.items())


def _colour(trials: Sequence[Trial]) -> alt.Color:
    """By status; the legend names those that there are, and is left out where all are the same."""
    seen = [status for status in STATUS_COLOURS if any(item.status == status for item in trials)]
    legend = alt.Legend(orient="top", columns=2) if len(seen) > 1 else None
    return colours("status:N", seen, [STATUS_COLOURS[status] for status in seen], legend)


_TOOLTIP = [
    alt.Tooltip("trial:N", title="Trial"),
    alt.Tooltip("value:Q", title="Objective", format=".4~g"),
    alt.Tooltip("settings:N", title="Settings"),
    alt.Tooltip("status:N", title="Status"),
]


def _whole_ticks(first: int, last: int, most: int = 12) -> list[int]:
    """Numbers of trials for an axis. Vega, left alone, ticks at 1.5 and writes that as 2."""
    sizes = (size * 10**power for power in range(9) for size in (1, 2, 5))
    step = next(size for size in sizes if last - first < most * size)
    return list(range(-(-first // step) * step, last + 1, step))


def progress_figure(job: TuningJob) -> Figure | None:
    """The objective of each trial in the order of their start, and the best so far."""
    judged = job.judged
    if not judged:
        return None
    values = np.array([item.objective for item in judged])
    running = np.maximum.accumulate(values) if job.maximise else np.minimum.accumulate(values)
    y = value_axis(job.metric, values, zero=False, padding=14)
    x = alt.X(
        "number:Q",
        title="Trial, in the order of their start",
        axis=alt.Axis(format="d", values=_whole_ticks(judged[0].number, judged[-1].number), grid=False),
        scale=alt.Scale(nice=False, zero=False, padding=12),
    )
    points = (
        alt.Chart(named("trials"))
        .mark_point(filled=True, size=75, opacity=0.9)
        .encode(x=x, y=y, color=_colour(judged), tooltip=_TOOLTIP)
    )
    line = alt.Chart(named("best")).mark_line(interpolate="step-after", color=GREEN, size=2).encode(x=x, y=y)
    best = job.best
    assert best is not None
    caption = (
        f"The green line is the best so far. The best of {words.plural(len(judged), 'trial')} is number "
        f"{best.number} with {job.value(best.objective)}."
    )
    tables = {
        "trials": _table(job, judged),
        "best": {"number": [item.number for item in judged], "value": running.tolist()},
    }
    return figure("progress", f"{job.metric} over the trials", caption, alt.layer(line, points), tables, 280)


def parameter_figures(job: TuningJob) -> list[Figure]:
    """The objective over each tuned setting."""
    judged = job.judged
    figures = []
    for index, (name, kind) in enumerate(parameters(job).items()):
        trials = [item for item in judged if name in item.tuned]
        if not trials:
            continue
        table = _table(job, trials)
        texts = [item.tuned[name] for item in trials]
        table["setting"] = texts if kind == "category" else [_float(text) for text in texts]
        y = value_axis(job.metric, np.array(table["value"]), zero=False, padding=14)
        if kind == "category":
            x = alt.X(
                "setting:N",
                title=name,
                sort=sorted(set(texts), key=_order),
                axis=alt.Axis(labelAngle=0, grid=False),
            )
        else:
            scale = (
                alt.Scale(type="log", nice=False, padding=12)
                if kind == "log"
                else alt.Scale(nice=False, zero=False, padding=12)
            )
            values = np.array(table["setting"])
            finite = values[np.isfinite(values) & (values > 0)]
            ticks = decades(float(finite.min()), float(finite.max())) if kind == "log" and finite.size else []
            x = alt.X(
                "setting:Q",
                title=f"{name}, logarithmic" if kind == "log" else name,
                scale=scale,
                axis=alt.Axis(format="~g", grid=False, tickCount=5, values=ticks or alt.Undefined),
            )
        points = (
            alt.Chart(named("trials"))
            .mark_point(filled=True, size=80, opacity=0.85)
            .encode(x=x, y=y, color=_colour(trials), tooltip=_TOOLTIP)
        )
        ring = (
            alt.Chart(named("trials"))
            .transform_filter("datum.best")
            .mark_point(size=220, color=GREEN, strokeWidth=2.5)
            .encode(x=x, y=y, tooltip=_TOOLTIP)
        )
        best = job.best
        caption = (
            f"The best trial (ringed) has {name}={setting(best.tuned.get(name, words.NOT_KNOWN))}."
            if best
            else ""
        )
        figures.append(
            figure(
                f"setting-{index}", name, caption, alt.layer(points, ring), {"trials": table}, 240, wide=False
            )
        )
    return figures


def parallel_figure(job: TuningJob) -> Figure | None:
    """Parallel coordinates: a line for each trial through all of its settings to its objective."""
    kinds = parameters(job)
    judged = sorted(job.judged, key=job.rank, reverse=True)[-200:]
    if len(kinds) < 2 or len(judged) < 2:
        return None
    axes = [*kinds, job.metric]
    table = Rows("axis", "height", "shown", "trial", "objective", "settings")
    ends = Rows("axis", "height", "text")
    for axis in axes:
        texts = [item.tuned.get(axis, "") if axis in kinds else str(item.objective) for item in judged]
        if kinds.get(axis) == "category":
            places = sorted(set(texts), key=_order)
            heights = [places.index(text) / max(len(places) - 1, 1) for text in texts]
            marks = [(index / max(len(places) - 1, 1), text) for index, text in enumerate(places)]
        else:
            raw = np.array([_float(text) for text in texts])
            scaled = np.log(raw) if kinds.get(axis) == "log" and (raw[np.isfinite(raw)] > 0).all() else raw
            low, high = float(np.nanmin(scaled)), float(np.nanmax(scaled))
            heights = [(float(value) - low) / (high - low) if high > low else 0.5 for value in scaled]
            marks = [(0.0, words.number(float(np.nanmin(raw)))), (1.0, words.number(float(np.nanmax(raw))))]
        for item, height, text in zip(judged, heights, texts, strict=True):
            table.add(axis, height, text, item.name, item.objective, _settings(item))
        for height, text in marks:
            ends.add(axis, height, text)
    x = alt.X(
        "axis:N",
        title=None,
        sort=axes,
        scale=alt.Scale(type="point", padding=0.35),
        axis=alt.Axis(
            labelAngle=0,
            orient="top",
            grid=True,
            ticks=False,
            domain=False,
            labelFontWeight=600,
            labelPadding=16,
        ),
    )
    y = alt.Y("height:Q", axis=None, scale=alt.Scale(domain=[0, 1], nice=False))
    colour = alt.Color(
        "objective:Q",
        title=job.metric,
        scale=alt.Scale(scheme="viridis", reverse=not job.maximise),
        legend=gradient_legend(
            orient="bottom", gradientLength=200, gradientThickness=8, format=".3~g", tickCount=4
        ),
    )
    lines = (
        alt.Chart(named("lines"))
        .mark_line(size=2, opacity=0.8)
        .encode(
            x=x,
            y=y,
            color=colour,
            detail="trial:N",
            tooltip=[
                alt.Tooltip("trial:N", title="Trial"),
                alt.Tooltip("settings:N", title="Settings"),
                alt.Tooltip("objective:Q", title=job.metric, format=".4~g"),
            ],
        )
    )
    labels = (
        alt.Chart(named("ends"))
        .mark_text(color="currentColor", fontSize=11, align="left", dx=7, dy=-1)
        .encode(x=x, y=y, text="text:N")
    )
    caption = "Each line is a trial; the best are drawn on top and are the brightest."
    return figure(
        "parallel",
        "All settings together",
        caption,
        alt.layer(lines, labels),
        {"lines": table, "ends": ends},
        260,
    )


def timeline_figure(job: TuningJob) -> Figure | None:
    """When each trial ran."""
    trials = [item for item in job.trials if item.start][:80]
    if not trials:
        return None
    begin = min(item.start for item in trials if item.start)
    table = _table(job, trials)
    spans = [
        (
            words.seconds_between(begin, item.start) or 0.0,
            words.seconds_between(begin, item.end or job.collected) or 0.0,
        )
        for item in trials
    ]
    minutes = max(end for _, end in spans) > 600
    table["from"] = [start / 60 if minutes else start for start, _ in spans]
    table["to"] = [end / 60 if minutes else end for _, end in spans]
    x = alt.X(
        "from:Q",
        title=f"Time since the first trial began ({'min' if minutes else 's'})",
        axis=alt.Axis(tickCount=8),
        scale=alt.Scale(nice=False),
    )
    bars = (
        alt.Chart(named("trials"))
        .mark_bar(cornerRadius=2)
        .encode(
            x=x,
            x2="to:Q",
            y=alt.Y("number:O", title="Trial", axis=name_axis()),
            color=_colour(trials),
            tooltip=_TOOLTIP,
        )
    )
    whole = max(end for _, end in spans)
    work = sum(end - start for start, end in spans)
    caption = (
        f"{words.plural(len(trials), 'trial')} in {words.duration(whole)}; {words.duration(work)} of training"
    )
    caption += f", {work / whole:.1f} at a time." if whole else "."
    return figure(
        "timeline", "When the trials ran", caption, bars, {"trials": table}, max(90, 15 * len(trials))
    )
