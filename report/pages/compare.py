"""Several training jobs side by side: curves over one another, verdicts and settings beside one another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import altair as alt
import numpy as np

from contract.findings import Outcome
from report import words
from report.charts.axes import (
    JOBS,
    RED,
    SPLITS,
    block_legend,
    colours,
    line_legend,
    name_axis,
    share_axis,
    spans_decades,
    step_axis,
    value_axis,
)
from report.charts.curves import axis_of, loss_sentence, main_loss, metric_curve, thin_steps
from report.charts.figure import Figure, Rows, Table, broken_lines, figure, named
from report.charts.layers import merge
from report.charts.timing import PHASE_COLOURS, step_numbers
from report.pages.job import Job, origin, read_job
from report.pages.render import flat, render
from report.read.findings import stop_sentence
from report.read.inputs import ReportInputs
from report.read.series import Curve, smooth, thin
from report.verdicts import Verdict


@dataclass(frozen=True)
class Row:
    """A line of a comparison: one value per job, and whether they differ."""

    name: str
    values: list[str]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def rows(tables: list[dict[str, str]]) -> list[Row]:
    """One line for every key of any of the tables; those that differ first."""
    names = list(dict.fromkeys(name for table in tables for name in table))
    compared = [Row(name, [table.get(name, words.NOT_KNOWN) for table in tables]) for name in names]
    return sorted(compared, key=lambda row: not row.differs)


def labels(jobs: list[Job]) -> list[str]:
    """Names without what all of them begin with: they have to fit into a legend."""
    names = [job.name for job in jobs]
    common = 0
    while all(len(name) > common + 1 for name in names) and len({name[: common + 1] for name in names}) == 1:
        common += 1
    cut = max((names[0][:common].rfind(mark) + 1 for mark in "-_."), default=0)
    return [name[cut:] if cut > 8 and len(name) > 20 else name for name in names]


def job_tones(count: int) -> list[str]:
    """A colour for each job, again from the first where there are more jobs than colours."""
    return [JOBS[index % len(JOBS)] for index in range(count)]


def _colour(names: list[str]) -> alt.Color:
    return colours("job:N", names, job_tones(len(names)), line_legend(columns=2))


def _overlay(
    id: str,
    title: str,
    caption: str,
    y_title: str,
    curves: list[tuple[str, str, Curve]],
    names: list[str],
    x_title: str = "Step",
    share: bool = False,
    wide: bool = True,
) -> Figure | None:
    """Curves as (job, split, values) over one another: a colour for each job, dashes for validation."""
    curves = [item for item in curves if len(item[2])]
    if not curves:
        return None
    every = np.concatenate([values.value for _, _, values in curves])
    y = share_axis(y_title) if share else value_axis(y_title, every)
    table, broken = Rows("step", "value", "job", "split"), Rows("step", "job")
    last = max(float(values.step.max()) for _, _, values in curves)
    for name, split, values in curves:
        table.add(values.step, values.value, name, split)
        if not values.finite.all():
            broken.add(thin_steps(values.step[~values.finite], last), name)
    # In each chart alike: what the legend calls dashed must not depend on the order of the curves.
    usual = [label for label, _ in SPLITS.values()]
    splits = sorted({split for _, split, _ in curves}, key=lambda split: (split not in usual, split))
    dash = alt.StrokeDash(
        "split:N",
        title=None,
        sort=splits,
        scale=alt.Scale(domain=splits, range=[[1, 0], [5, 4]][: len(splits)]),
        legend=alt.Legend(orient="top", columns=2, symbolStrokeColor="currentColor")
        if len(splits) > 1
        else None,
    )
    tooltip = [
        alt.Tooltip("job:N", title="Job"),
        alt.Tooltip("split:N", title="Of"),
        alt.Tooltip("step:Q", title=x_title, format=","),
        alt.Tooltip("value:Q", title=y_title, format=".4~g"),
    ]
    lines = broken_lines("lines", size=2.2).encode(
        x=step_axis(x_title), y=y, color=_colour(names), strokeDash=dash, tooltip=tooltip
    )
    layers: list[alt.Chart] = [lines]
    tables: dict[str, Table] = {"lines": table}
    if broken["step"]:
        tables["broken"] = broken
        layers.append(
            alt.Chart(named("broken"))
            .mark_point(shape="cross", angle=45, size=70, filled=True)
            .encode(
                x="step:Q",
                y=alt.value(7),
                color=_colour(names),
                tooltip=[
                    alt.Tooltip("job:N", title="NaN or infinite in"),
                    alt.Tooltip("step:Q", title=x_title, format=","),
                ],
            )
        )
        caption += " Crosses at the top are values that are NaN or infinite."
    return figure(id, title, caption, alt.layer(*layers), tables, 320 if wide else 260, wide)


def loss_overlay(jobs: list[Job], names: list[str]) -> Figure | None:
    curves = []
    for job, name in zip(jobs, names, strict=True):
        _, raw = main_loss(job.series)
        if len(raw):
            line = smooth(raw, geometric=spans_decades(raw.value)) if len(raw) > 60 else raw
            curves.append((name, "Training", thin(line, 400)))
    by_step = bool(curves)
    for job, name in zip(jobs, names, strict=True):
        axis = axis_of(job.inputs.log)
        if by_step and axis.name != "step":
            continue
        for split in ("validation",) if by_step else ("train", "validation"):
            curves.append(
                (name, SPLITS[split][0], metric_curve(job.inputs.log.metrics.get(f"{split}:loss"), axis))
            )
    said = " ".join(
        f"{name}: {loss_sentence(main_loss(job.series)[1])}"
        for job, name in zip(jobs, names, strict=True)
        if len(main_loss(job.series)[1])
    )
    title = "Step" if by_step else axis_of(jobs[0].inputs.log).title
    return _overlay("loss", "Loss", said, "Loss (cross-entropy, nats)", curves, names, title)


def metric_overlay(
    jobs: list[Job], names: list[str], metrics: dict[str, str], id: str, title: str, unit: str, share: bool
) -> Figure | None:
    axes = {axis_of(job.inputs.log) for job in jobs if job.inputs.log.metrics}
    if len(axes) != 1:
        return None  # steps of one job cannot be laid over epochs of another
    axis = axes.pop()
    curves = [
        (name, split, metric_curve(job.inputs.log.metrics.get(metric), axis))
        for job, name in zip(jobs, names, strict=True)
        for metric, split in metrics.items()
    ]
    last = next(iter(metrics))
    ends = [
        (name, values.last_epoch)
        for job, name in zip(jobs, names, strict=True)
        if (values := job.inputs.log.metrics.get(last))
    ]
    said = "; ".join(
        f"{name}: {words.percent(value) if share else words.number(value)}" for name, value in ends
    )
    return _overlay(
        id,
        title,
        f"In the last epoch {said}." if said else "",
        unit,
        curves,
        names,
        axis.title,
        share,
        wide=False,
    )


def gradient_overlay(jobs: list[Job], names: list[str]) -> Figure | None:
    curves = [
        (name, "all layers", thin(merge(list(job.series.gradients.values()), "root-sum-square"), 300))
        for job, name in zip(jobs, names, strict=True)
        if job.series.gradients
    ]
    return _overlay(
        "gradients",
        "Gradient norm of the whole network",
        "All layers together.",
        "Norm of the gradient",
        curves,
        names,
    )


def step_bars(jobs: list[Job], names: list[str]) -> Figure | None:
    table = Rows("job", "part", "left", "right", "ms")
    said = []
    for job, name in zip(jobs, names, strict=True):
        summary = step_numbers(job.series)
        if summary is None:
            continue
        left = 0.0
        for share in summary.shares:
            table.add(name, share.name, left, left + share.median, share.median)
            left += share.median
        said.append(f"{name}: {words.milliseconds(summary.median)}")
    if not said:
        return None
    parts = list(dict.fromkeys(table["part"]))
    chart = (
        alt.Chart(named("bars"))
        .mark_bar()
        .encode(
            x=alt.X("left:Q", title="Median time of a step (ms)"),
            x2="right:Q",
            y=alt.Y(
                "job:N",
                sort=names,
                title=None,
                axis=name_axis(labelLimit=150),
            ),
            color=colours("part:N", parts, list(PHASE_COLOURS.values()), block_legend(columns=3)),
            tooltip=[
                alt.Tooltip("job:N", title="Job"),
                alt.Tooltip("part:N", title="Part"),
                alt.Tooltip("ms:Q", title="Median (ms)", format=".3~g"),
            ],
        )
    )
    return figure(
        "steps",
        "Time of a training step",
        f"In the median {'; '.join(said)}.",
        chart,
        {"bars": table},
        max(70, 34 * len(said)),
    )


RESULTS: dict[str, Callable[[Job], str]] = {
    "Status": lambda job: f"{job.status}. {stop_sentence(job.inputs.findings)}".removesuffix(". "),
    "Test accuracy": lambda job: words.percent(job.metric("test:accuracy")),
    "Validation accuracy": lambda job: words.percent(job.metric("validation:accuracy")),
    "Validation loss": lambda job: words.number(_known(job.metric("validation:loss"))),
    "Of the weights of": lambda job: (
        words.NOT_KNOWN if math.isnan(job.kept_epoch) else f"epoch {job.kept_epoch:.0f}, which were kept"
    ),
    "Last training loss": lambda job: words.number(_last_loss(job)),
    "Duration": lambda job: words.duration(job.duration),
    "Machine": lambda job: job.machine,
    "Median step": lambda job: (
        words.milliseconds(summary.median) if (summary := step_numbers(job.series)) else words.NOT_KNOWN
    ),
    "Rules": lambda job: f"{job.rules[0]} {job.rules[1]}",
}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _last_loss(job: Job) -> float | None:
    _, raw = main_loss(job.series)
    return float(raw.value[-1]) if len(raw) else _known(job.metric("train:loss"))


def verdict_matrix(jobs: list[Job]) -> list[tuple[str, list[Verdict | None]]]:
    """Rule by rule what was said of each job; rules that found something anywhere first."""
    by_job = [{verdict.rule: verdict for verdict in job.verdicts} for job in jobs]
    names = list(dict.fromkeys(name for verdicts in by_job for name in verdicts))
    names.sort(
        key=lambda name: (
            not any(verdicts[name].outcome is Outcome.ISSUES_FOUND for verdicts in by_job if name in verdicts)
        )
    )
    return [(name, [verdicts.get(name) for verdicts in by_job]) for name in names]


def compare_page(inputs: list[ReportInputs]) -> str:
    """The report on several training jobs as HTML."""
    jobs = [read_job(item) for item in inputs]
    names = labels(jobs)
    candidates = [
        loss_overlay(jobs, names),
        metric_overlay(
            jobs,
            names,
            {"validation:accuracy": "Validation", "train:accuracy": "Training"},
            "accuracy",
            "Accuracy",
            "Accuracy (share of pictures)",
            True,
        ),
        metric_overlay(
            jobs, names, {"learning_rate": "Training"}, "rate", "Learning rate", "Learning rate", False
        ),
        gradient_overlay(jobs, names),
        step_bars(jobs, names),
    ]
    figures = [item for item in candidates if item is not None]
    return render(
        "compare.html.j2",
        figures,
        jobs=jobs,
        names=names,
        colours=job_tones(len(jobs)),
        figures=figures,
        results=[Row(name, [value(job) for job in jobs]) for name, value in RESULTS.items()],
        settings=rows([{**job.defaults, **job.settings} for job in jobs]),
        made=rows(
            [dict(origin(job)) | flat(job.quality.environment, "Environment of training: ") for job in jobs]
        ),
        matrix=verdict_matrix(jobs),
        issues=[
            (name, verdict)
            for job, name in zip(jobs, names, strict=True)
            for verdict in job.verdicts
            if verdict.outcome is Outcome.ISSUES_FOUND
        ],
        red=RED,
    )
