"""How the job learned: loss, accuracy and learning rate over steps, with the findings at their place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from contract.metrics import REPORTED_ONCE
from report import words
from report.charts.axes import (
    GREEN,
    INK,
    ORANGE,
    SPLITS,
    colours,
    line_legend,
    share_axis,
    spans_decades,
    step_axis,
    value_axis,
)
from report.charts.figure import Figure, Table, broken_lines, broken_marks, figure, finding_marks, named
from report.read.metrics import Log, Metric
from report.read.series import Array, Curve, Series, curve, smooth, thin
from report.verdicts import Finding

KEPT_EPOCH = "kept_epoch"
"""The metric that says which epoch's weights the trainer kept."""


@dataclass(frozen=True)
class Axis:
    """What a log's metrics are drawn over: steps if the lines name them, else epochs, else their order."""

    title: str
    name: str


def axis_of(log: Log) -> Axis:
    # Other trainers have other metrics of a test.
    once = {*REPORTED_ONCE, *(name for name in log.metrics if name.startswith("test:"))}
    drawn = [metric for name, metric in log.metrics.items() if name not in once]
    # What the kept weights reach is printed once more at the end, and that line has no place in a curve.
    if drawn and all(any(step is not None for step in metric.step) for metric in drawn):
        return Axis("Step", "step")
    if drawn and all(any(epoch is not None for epoch in metric.epoch) for metric in drawn):
        return Axis("Epoch", "epoch")
    return Axis("Log line with this metric", "order")


def metric_curve(metric: Metric | None, axis: Axis) -> Curve:
    if metric is None:
        return curve(np.empty(0), np.empty(0))
    places: Sequence[float | None] = range(1, len(metric.value) + 1)
    if axis.name in ("step", "epoch"):
        places = metric.step if axis.name == "step" else metric.epoch
    # None becomes NaN, and what has no place is not drawn.
    return curve(np.array(places, dtype=np.float64), np.array(metric.value, dtype=np.float64))


def main_loss(series: Series) -> tuple[str, Curve]:
    """The training loss by step: of several saved losses the one with the most values."""
    losses = [
        (name, modes[mode])
        for name, modes in series.losses.items()
        for mode in ("TRAIN", "GLOBAL")
        if mode in modes
    ]
    return max(losses, key=lambda item: len(item[1]), default=("", curve(np.empty(0), np.empty(0))))


def loss_sentence(values: Curve, noun: str = "Training loss") -> str:
    """What a loss curve says, in words; a diverged one is called so."""
    total = len(values)
    finite = values.where(values.finite)
    if total == 1 and len(finite):
        return (
            f"{noun} was {words.number(float(values.value[0]))} at the only point there is: no course to see."
        )
    if not total:
        return f"No {noun.lower()} was recorded."
    if not len(finite):
        return f"{noun} is NaN or infinite at every one of {words.plural(total, 'recorded step')}."
    # The first loss is that of the weights as they came; the last ones are noisy, so their middle counts.
    start, end = float(finite.value[0]), float(np.median(finite.value[-max(1, min(20, len(finite) // 5)) :]))
    broken = total - len(finite)
    change = (end - start) / abs(start) if start else math.nan
    fell = change < -0.05
    if fell and not broken:
        verb = "fell" if change < -0.2 else "hardly fell:"
        text = f"{noun} {verb} from {words.number(start)} to {words.number(end)} ({_percent(change)})"
    elif fell:
        text = f"{noun} fell from {words.number(start)} to {words.number(end)} before it broke"
    else:
        text = f"{noun} did not fall: it began at {words.number(start)} and ended at {words.number(end)}"
    top = int(finite.value.argmax())
    if finite.value[top] > 5 * max(abs(start), abs(end)):
        text += f", with a peak of {words.number(float(finite.value[top]))} at step {finite.step[top]:,.0f}"
    if broken:
        first = values.step[~values.finite][0]
        text += (
            f"; it is NaN or infinite at {broken:,} of {total:,} recorded steps, first at step {first:,.0f}"
        )
    return f"{text}."


def _percent(change: float) -> str:
    return f"{100 * change:+.0f} %".replace("-", "−")


def loss_figure(series: Series, log: Log, findings: Sequence[Finding], classes: int) -> Figure | None:
    """Loss by step from the debugger, and by epoch from the log if its lines name the step or it is all."""
    name, raw = main_loss(series)
    axis = axis_of(log)
    by_epoch = {
        split: metric_curve(log.metrics.get(f"{split}:loss"), axis) for split in ("train", "validation")
    }
    if len(raw):
        by_epoch = by_epoch if axis.name == "step" else {}
        by_epoch.pop("train", None)  # the same loss, averaged
        axis = Axis("Step", "step")
    if not len(raw) and not any(map(len, by_epoch.values())):
        return None
    drawn = [thin(raw), *by_epoch.values()]
    every = np.concatenate([part.value for part in drawn])
    finite = every[np.isfinite(every)]
    last = max((float(part.step.max()) for part in drawn if len(part)), default=0.0)
    tables: dict[str, Table] = {}
    layers: list[alt.Chart] = []
    y = value_axis("Loss (cross-entropy, nats)", every)
    colour = _split_colours()
    tooltip = [
        alt.Tooltip("split:N", title="Loss of"),
        alt.Tooltip("step:Q", title=axis.title, format=","),
        alt.Tooltip("value:Q", title="Loss", format=".5~g"),
    ]
    x = step_axis(axis.title)
    if classes > 1 and finite.size:
        guess = math.log(classes)
        if finite.min() <= guess <= max(finite.max(), guess) * 1.0001 and guess <= finite.max() * 1.5:
            layers += _reference(y, guess, f"guessing among {classes} classes: {words.number(guess)}", tables)
    if len(raw):
        many = len(raw) > 60
        shown = thin(raw)
        tables["loss_raw"] = _table(shown, "Training")
        line = broken_lines(
            "loss_raw",
            size=1 if many else 2,
            opacity=0.55 if many else 1,
            point={"size": 18} if len(raw) < 40 else False,
        )
        layers.append(line.encode(x=x, y=y, color=colour, tooltip=tooltip))
        if many:
            tables["loss_smooth"] = _table(thin(smooth(raw, geometric=spans_decades(every)), 400), "Training")
            layers.append(
                broken_lines("loss_smooth", size=2.5).encode(x=x, y=y, color=colour, tooltip=tooltip)
            )
    for split, values in by_epoch.items():
        if not len(values):
            continue
        tables[f"loss_{split}"] = _table(values, SPLITS[split][0])
        layers.append(
            broken_lines(f"loss_{split}", size=2.5, point={"size": 40, "filled": True}).encode(
                x=x, y=y, color=colour, tooltip=tooltip
            )
        )
    broken = [
        (part, split)
        for part, split in [(raw, "train"), *[(v, k) for k, v in by_epoch.items()]]
        if len(part) and not part.finite.all()
    ]
    if broken:
        marked = [
            (step, split) for part, split in broken for step in thin_steps(part.step[~part.finite], last)
        ]
        tables["loss_broken"] = {
            "step": [step for step, _ in marked],
            "what": [f"{SPLITS[split][0]} loss is NaN or infinite" for _, split in marked],
        }
        layers.append(broken_marks("loss_broken", "Loss"))
    marks, more = finding_marks(findings, last) if axis.name == "step" else ([], {})
    tables |= more
    caption = loss_sentence(raw if len(raw) else by_epoch["train"])
    if broken:
        caption += " Red crosses at the top are steps whose loss is NaN or infinite: no height can show them."
    if len(raw) > 60:
        caption += " The pale line has every recorded step, the strong one is its moving average."
    title = f"Loss ({name})" if name and len(series.losses) > 1 else "Loss"
    return figure("loss", title, caption, alt.layer(*layers, *marks), tables, 340)


def thin_steps(steps: Array, width: float) -> list[float]:
    """Steps far enough apart for their marks to be distinct, on an axis of this width."""
    places = np.round(steps / max(width / 60, 1e-9))
    return [float(steps[index]) for index in np.unique(places, return_index=True)[1]]


def _table(values: Curve, split: str) -> Table:
    return {"step": values.step.tolist(), "value": values.value.tolist(), "split": [split] * len(values)}


def _reference(y: alt.Y, value: float, text: str, tables: dict[str, Table]) -> list[alt.Chart]:
    tables["reference"] = {"value": [value], "text": [text]}
    base = alt.Chart(named("reference"))
    return [
        base.mark_rule(color=INK, opacity=0.55, strokeDash=[1, 3], size=1.5).encode(y=y),
        base.mark_text(color=INK, opacity=0.75, align="right", dx=-4, dy=-9, fontSize=11).encode(
            x=alt.value("width"), y=y, text="text:N"
        ),
    ]


def _split_colours() -> alt.Color:
    names, tones = zip(*(SPLITS[split] for split in ("train", "validation")), strict=True)
    return colours("split:N", names, tones, line_legend())


def accuracy_figure(log: Log, findings: Sequence[Finding], classes: int) -> Figure | None:
    axis = axis_of(log)
    curves = {
        split: metric_curve(log.metrics.get(f"{split}:accuracy"), axis) for split in ("train", "validation")
    }
    curves = {split: values for split, values in curves.items() if len(values)}
    if not curves:
        return None
    tables: dict[str, Table] = {split: _table(values, SPLITS[split][0]) for split, values in curves.items()}
    colour = _split_colours()
    y = share_axis("Accuracy (share of pictures)")
    layers: list[alt.Chart] = []
    if classes > 1:
        layers += _reference(y, 1 / classes, f"guessing: {words.percent(1 / classes)}", tables)
    for split in curves:
        layers.append(
            alt.Chart(named(split))
            .mark_line(size=2.5, point={"size": 40, "filled": True})
            .encode(
                x=step_axis(axis.title),
                y=y,
                color=colour,
                tooltip=[
                    alt.Tooltip("split:N", title="Accuracy on"),
                    alt.Tooltip("step:Q", title=axis.title, format=","),
                    alt.Tooltip("value:Q", title="Accuracy", format=".2%"),
                ],
            )
        )
    last = max(float(values.step.max()) for values in curves.values())
    marks, more = finding_marks(findings, last) if axis.name == "step" else ([], {})
    best = curves.get("validation") or curves["train"]
    place = int(np.nanargmax(np.where(best.finite, best.value, -1.0)))
    split = "Validation" if "validation" in curves else "Training"
    top = words.percent(float(best.value[place]))
    where = f"{axis.title.lower()} {best.step[place]:,.0f}"
    metric = log.metrics[f"{split.lower()}:accuracy"]
    epochs: dict[float | None, float | None] = {}
    if axis.name == "step":
        epochs = dict(zip(metric.step, metric.epoch, strict=True))
    if (epoch := epochs.get(float(best.step[place]))) is not None:
        where += f" (epoch {epoch:g})"
    caption = f"{split} accuracy is best at {where}: {top}"
    caption += f"; it ends at {words.percent(float(best.value[-1]))}."
    if KEPT_EPOCH in log.metrics:
        caption += f" The model holds the weights of epoch {log.metrics[KEPT_EPOCH].last:.0f}."
    return figure(
        "accuracy", "Accuracy", caption, alt.layer(*layers, *marks), {**tables, **more}, 260, wide=False
    )


def rate_figure(log: Log) -> Figure | None:
    axis = axis_of(log)
    values = metric_curve(log.metrics.get("learning_rate"), axis)
    if not len(values):
        return None
    y = alt.Y("value:Q", title="Learning rate", axis=alt.Axis(format="~g", tickCount=5))
    chart = (
        alt.Chart(named("rate"))
        .mark_line(
            size=2.5, color=GREEN, interpolate="linear", point={"size": 40, "filled": True, "color": GREEN}
        )
        .encode(
            x=step_axis(axis.title),
            y=y,
            tooltip=[
                alt.Tooltip("step:Q", title=axis.title, format=","),
                alt.Tooltip("value:Q", title="Learning rate", format=".4~g"),
            ],
        )
    )
    finite = values.value[values.finite]
    caption = (
        f"From {words.number(float(finite[0]))} to {words.number(float(finite[-1]))}"
        if finite.size
        else "Not finite"
    )
    if finite.size == 1:
        caption = f"{words.number(float(finite[0]))} at the only point there is"
    elif finite.size and finite.max() == finite.min():
        caption = f"Constant at {words.number(float(finite[0]))}"
    return figure(
        "rate", "Learning rate", f"{caption}.", chart, {"rate": _table(values, "")}, 260, wide=False
    )


def evaluation_figure(series: Series, *, own_steps: bool) -> Figure | None:
    """Losses of evaluations, for a log without them; where a hook saved them, they count their own steps."""
    losses = [modes["EVAL"] for modes in series.losses.values() if len(modes.get("EVAL", ())) > 1]
    if not losses:
        return None
    values = thin(max(losses, key=len))
    y = value_axis("Loss (cross-entropy, nats)", values.value)
    chart = broken_lines("evaluation", size=2, color=ORANGE).encode(
        x=step_axis("Evaluation step" if own_steps else "Step"),
        y=y,
        tooltip=["step:Q", alt.Tooltip("value:Q", format=".5~g")],
    )
    caption = loss_sentence(values, "Evaluation loss")
    caption += " Evaluation counts its own steps." if own_steps else ""
    return figure("evaluation", "Loss in evaluation", caption, chart, {"evaluation": _table(values, "")}, 220)


def sparkline(values: Curve, width: float = 240.0, height: float = 64.0) -> tuple[str, list[float]] | None:
    """An SVG path of a curve for the headline, and the x of its values that are NaN or infinite.

    Logarithmic where the values span decades. The page shows it without any script.
    """
    values = thin(values, 200)
    finite = values.finite
    if len(values) < 2 or not finite.any() or values.step[-1] == values.step[0]:
        return None
    heights = np.log(values.value.clip(min=1e-12)) if spans_decades(values.value[finite]) else values.value
    low, high = float(heights[finite].min()), float(heights[finite].max())
    span = (high - low) or 1.0
    x = 3 + (values.step - values.step[0]) / (values.step[-1] - values.step[0]) * (width - 6)
    y = (
        height - 4 - (heights - low) / span * (height - 12)
        if high > low
        else np.full(len(values), height / 2)
    )
    parts, pen = [], "M"
    for index in range(len(values)):
        if finite[index]:
            parts.append(f"{pen}{x[index]:.1f} {y[index]:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts), [
        round(place, 1) for place in thin_steps(x[~finite], 3 * width)
    ] if not finite.all() else []
