"""A whole tuning job: which settings paid, how the search went, and what each trial cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import altair as alt
import numpy as np

from scripts.errors import NOT_FOUND, ByocError
from scripts.report import words
from scripts.report.charts import BLUE, GREEN, GREY, ORANGE, RED, Figure, decades, figure, named, value_axis
from scripts.report.data import mapping, number, sequence
from scripts.report.inputs import Clients
from scripts.report.job import Tile
from scripts.report.page import redact, render

STATUS_COLOURS = {"Completed": BLUE, "Stopped": ORANGE, "InProgress": GREY, "Failed": RED}
TRIALS_LIMIT = 2_000


@dataclass(frozen=True)
class Trial:
    name: str
    number: int
    status: str
    objective: float
    tuned: dict[str, str]
    start: datetime | None
    end: datetime | None
    failure: str = ""

    @property
    def seconds(self) -> float | None:
        return words.seconds_between(self.start, self.end)


@dataclass
class TuningInputs:
    name: str
    describe: dict[str, Any]
    trials: list[Trial] = field(default_factory=list)
    truncated: bool = False
    collected: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def config(self) -> Mapping[str, Any]:
        return mapping(self.describe.get("HyperParameterTuningJobConfig"))

    @property
    def objective(self) -> Mapping[str, Any]:
        single = mapping(self.config.get("HyperParameterTuningJobObjective"))
        definition = mapping(mapping(self.describe.get("TrainingJobDefinition")).get("TuningObjective"))
        return single or definition

    @property
    def metric(self) -> str:
        return str(self.objective.get("MetricName", "objective"))

    @property
    def maximise(self) -> bool:
        return str(self.objective.get("Type", "Maximize")) == "Maximize"

    @property
    def judged(self) -> list[Trial]:
        return [trial for trial in self.trials if math.isfinite(trial.objective)]

    @property
    def best(self) -> Trial | None:
        return min(self.judged, key=self.rank, default=None)

    def rank(self, trial: Trial) -> float:
        """Smaller is better."""
        return -trial.objective if self.maximise else trial.objective

    def value(self, objective: float) -> str:
        share = "accuracy" in self.metric or "f1" in self.metric or "top" in self.metric
        return words.percent(objective, 2) if share and 0 <= objective <= 1 else words.number(objective, 4)


def collect_tuning(clients: Clients, name: str) -> TuningInputs:
    """Read a tuning job and its training jobs.

    Raises:
        ByocError: no such tuning job.
    """
    from botocore.exceptions import ClientError

    try:
        answer = clients.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"ResourceNotFound", "ValidationException"}:
            raise ByocError(
                f"There is no tuning job {name!r} here.",
                "`byoc jobs` lists the ones there are.",
                code=NOT_FOUND,
            ) from None
        raise
    inputs = TuningInputs(name, {key: value for key, value in answer.items() if key != "ResponseMetadata"})
    pages = clients.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name, SortBy="CreationTime", SortOrder="Ascending"
    )
    for page in pages:
        for summary in page["TrainingJobSummaries"]:
            if len(inputs.trials) == TRIALS_LIMIT:
                inputs.truncated = True
                return inputs
            inputs.trials.append(trial(dict(summary), len(inputs.trials) + 1))
    return inputs


def trial(summary: Mapping[str, Any], place: int) -> Trial:
    objective = mapping(summary.get("FinalHyperParameterTuningJobObjectiveMetric"))
    start = summary.get("TrainingStartTime") or summary.get("CreationTime")
    end = summary.get("TrainingEndTime")
    return Trial(
        name=str(summary.get("TrainingJobName", "")),
        number=place,
        status=str(summary.get("TrainingJobStatus", "")),
        objective=number(objective.get("Value")),
        tuned={
            str(key): str(value).strip('"')
            for key, value in mapping(summary.get("TunedHyperParameters")).items()
        },
        start=start if isinstance(start, datetime) else None,
        end=end if isinstance(end, datetime) else None,
        failure=str(summary.get("FailureReason") or ""),
    )


def parameters(inputs: TuningInputs) -> dict[str, str]:
    """The tuned settings with their kind: linear, log or category; in the order of the job's ranges."""
    definition = mapping(inputs.describe.get("TrainingJobDefinition"))
    ranges = mapping(inputs.config.get("ParameterRanges")) or mapping(definition.get("HyperParameterRanges"))
    found: dict[str, str] = {}
    for key in ("ContinuousParameterRanges", "IntegerParameterRanges"):
        for raw in sequence(ranges.get(key)):
            item = mapping(raw)
            low, high = _float(item.get("MinValue")), _float(item.get("MaxValue"))
            wide = low > 0 and high / low > 30
            log = str(item.get("ScalingType")) == "Logarithmic" or wide
            found[str(item.get("Name"))] = "log" if log and low > 0 else "linear"
    for raw in sequence(ranges.get("CategoricalParameterRanges")):
        found[str(mapping(raw).get("Name"))] = "category"
    for one in inputs.trials:
        for name, value in one.tuned.items():
            found.setdefault(name, "linear" if math.isfinite(_float(value)) else "category")
    return found


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


def _table(inputs: TuningInputs, trials: list[Trial]) -> dict[str, list[Any]]:
    best = inputs.best
    return {
        "number": [item.number for item in trials],
        "trial": [item.name for item in trials],
        "status": [item.status for item in trials],
        "value": [item.objective for item in trials],
        "best": [item is best for item in trials],
        "settings": [", ".join(f"{key}={value}" for key, value in item.tuned.items()) for item in trials],
    }


def _colour(trials: Sequence[Trial]) -> alt.Color:
    """By status; the legend names those that there are, and is left out where all are the same."""
    seen = [status for status in STATUS_COLOURS if any(item.status == status for item in trials)]
    return alt.Color(
        "status:N",
        title=None,
        scale=alt.Scale(domain=seen, range=[STATUS_COLOURS[status] for status in seen]),
        legend=alt.Legend(orient="top", columns=2) if len(seen) > 1 else None,
    )


_TOOLTIP = [
    alt.Tooltip("trial:N", title="Trial"),
    alt.Tooltip("value:Q", title="Objective", format=".4~g"),
    alt.Tooltip("settings:N", title="Settings"),
    alt.Tooltip("status:N", title="Status"),
]


def progress_figure(inputs: TuningInputs) -> Figure | None:
    """The objective of each trial in the order of their start, and the best so far."""
    judged = inputs.judged
    if not judged:
        return None
    values = np.array([item.objective for item in judged])
    running = np.maximum.accumulate(values) if inputs.maximise else np.minimum.accumulate(values)
    y = value_axis(inputs.metric, values, zero=False, padding=14)
    x = alt.X(
        "number:Q",
        title="Trial, in the order of their start",
        axis=alt.Axis(format="d", tickMinStep=1, grid=False),
        scale=alt.Scale(nice=False, zero=False, padding=12),
    )
    points = (
        alt.Chart(named("trials"))
        .mark_point(filled=True, size=75, opacity=0.9)
        .encode(x=x, y=y, color=_colour(judged), tooltip=_TOOLTIP)
    )
    line = alt.Chart(named("best")).mark_line(interpolate="step-after", color=GREEN, size=2).encode(x=x, y=y)
    best = inputs.best
    assert best is not None
    caption = (
        f"The green line is the best so far. The best of {words.plural(len(judged), 'trial')} is number "
        f"{best.number} with {inputs.value(best.objective)}."
    )
    tables = {
        "trials": _table(inputs, judged),
        "best": {"number": [item.number for item in judged], "value": running.tolist()},
    }
    return figure(
        "progress", f"{inputs.metric} over the trials", caption, alt.layer(line, points), tables, 280
    )


def parameter_figures(inputs: TuningInputs) -> list[Figure]:
    """The objective over each tuned setting."""
    judged = inputs.judged
    found = []
    for index, (name, kind) in enumerate(parameters(inputs).items()):
        trials = [item for item in judged if name in item.tuned]
        if not trials:
            continue
        table = _table(inputs, trials)
        texts = [item.tuned[name] for item in trials]
        table["setting"] = texts if kind == "category" else [_float(text) for text in texts]
        y = value_axis(inputs.metric, np.array(table["value"]), zero=False, padding=14)
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
        best = inputs.best
        caption = (
            f"The best trial (ringed) has {name}={setting(best.tuned.get(name, words.NOT_KNOWN))}."
            if best
            else ""
        )
        found.append(
            figure(
                f"setting-{index}", name, caption, alt.layer(points, ring), {"trials": table}, 240, wide=False
            )
        )
    return found


def parallel_figure(inputs: TuningInputs) -> Figure | None:
    """Parallel coordinates: a line for each trial through all of its settings to its objective."""
    kinds = parameters(inputs)
    judged = sorted(inputs.judged, key=inputs.rank, reverse=True)[-200:]
    if len(kinds) < 2 or len(judged) < 2:
        return None
    axes = [*kinds, inputs.metric]
    table: dict[str, list[Any]] = {
        key: [] for key in ("axis", "height", "shown", "trial", "objective", "settings")
    }
    ends: dict[str, list[Any]] = {key: [] for key in ("axis", "height", "text")}
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
            table["axis"].append(axis)
            table["height"].append(height)
            table["shown"].append(text)
            table["trial"].append(item.name)
            table["objective"].append(item.objective)
            table["settings"].append(", ".join(f"{key}={value}" for key, value in item.tuned.items()))
        for height, text in marks:
            ends["axis"].append(axis)
            ends["height"].append(height)
            ends["text"].append(text)
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
        title=inputs.metric,
        scale=alt.Scale(scheme="viridis", reverse=not inputs.maximise),
        legend=alt.Legend(
            orient="bottom",
            direction="horizontal",
            gradientLength=200,
            gradientThickness=8,
            format=".3~g",
            tickCount=4,
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
                alt.Tooltip("objective:Q", title=inputs.metric, format=".4~g"),
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


def timeline_figure(inputs: TuningInputs) -> Figure | None:
    """When each trial ran."""
    trials = [item for item in inputs.trials if item.start][:80]
    if not trials:
        return None
    begin = min(item.start for item in trials if item.start)
    table = _table(inputs, trials)
    spans = [
        (
            words.seconds_between(begin, item.start) or 0.0,
            words.seconds_between(begin, item.end or inputs.collected) or 0.0,
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
            y=alt.Y("number:O", title="Trial", axis=alt.Axis(ticks=False, domain=False, grid=False)),
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


def tuning_page(inputs: TuningInputs) -> str:
    """The report on a tuning job as HTML."""
    first = [
        item
        for item in (progress_figure(inputs), *parameter_figures(inputs), parallel_figure(inputs))
        if item is not None
    ]
    last = [item for item in (timeline_figure(inputs),) if item is not None]
    best = inputs.best
    limits = mapping(inputs.config.get("ResourceLimits"))
    counts = {
        status: sum(item.status == status for item in inputs.trials)
        for status in {item.status for item in inputs.trials}
    }
    tiles = [
        Tile(
            f"Best {inputs.metric}",
            inputs.value(best.objective) if best else words.NOT_KNOWN,
            "larger is better" if inputs.maximise else "smaller is better",
        ),
        Tile(
            "Trials",
            f"{len(inputs.trials)}",
            ", ".join(f"{count} {status}" for status, count in sorted(counts.items())),
        ),
        Tile(
            "Strategy",
            str(inputs.config.get("Strategy", words.NOT_KNOWN)),
            f"{limits.get('MaxParallelTrainingJobs', '?')} at a time, "
            f"{limits.get('MaxNumberOfTrainingJobs', '?')} at most",
        ),
        Tile(
            "Duration",
            words.duration(
                words.seconds_between(
                    inputs.describe.get("CreationTime"),
                    inputs.describe.get("HyperParameterTuningEndTime") or inputs.collected,
                )
            ),
        ),
    ]
    definition = mapping(inputs.describe.get("TrainingJobDefinition"))
    static = mapping(definition.get("StaticHyperParameters"))
    return render(
        "tuning.html.j2",
        first + last,
        inputs=inputs,
        best=best,
        setting=setting,
        tiles=tiles,
        first=first,
        last=last,
        names=list(parameters(inputs)),
        ranked=sorted(inputs.judged, key=inputs.rank)
        + [item for item in inputs.trials if not math.isfinite(item.objective)],
        static={str(key): redact(str(key), str(value).strip('"')) for key, value in sorted(static.items())},
        status=str(inputs.describe.get("HyperParameterTuningJobStatus", "unknown")),
    )
