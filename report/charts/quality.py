"""Which classes the model takes for which others, and how many pictures each has."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from report import words
from report.charts.axes import BLUE, GREY, SPLITS, block_legend, colours, gradient_legend, name_axis
from report.charts.figure import Figure, figure, named
from report.read.quality import Quality

CELLS_WITH_TEXT = 20
MATRIX_LIMIT = 100
BARS_LIMIT = 40


def matrix_figure(quality: Quality) -> Figure | None:
    count = len(quality.classes)
    if not quality.matrix.size or count > MATRIX_LIMIT:
        return None
    sums = quality.matrix.sum(axis=1)
    shares = np.divide(
        quality.matrix, sums[:, None], out=np.zeros_like(quality.matrix), where=sums[:, None] > 0
    )
    # Two classes may have the same name after shortening: rows are identified by their index.
    index = [
        (row, column)
        for row in range(count)
        for column in range(count)
        if count <= 30 or quality.matrix[row, column] > 0
    ]
    table: dict[str, list[Any]] = {
        "truth": [quality.classes[row] for row, _ in index],
        "predicted": [quality.classes[column] for _, column in index],
        "count": [float(quality.matrix[cell]) for cell in index],
        "share": [float(shares[cell]) for cell in index],
        "dark": [bool(shares[cell] > 0.45) for cell in index],
    }
    base = alt.Chart(named("cells")).encode(
        x=alt.X(
            "predicted:N",
            title="Predicted class",
            sort=quality.classes,
            axis=name_axis(
                labelAngle=0 if count <= 12 and max(map(len, quality.classes)) <= 4 else -45,
                orient="top",
                labelLimit=90,
                labels=count <= 40,
            ),
        ),
        y=alt.Y(
            "truth:N",
            title="True class",
            sort=quality.classes,
            axis=name_axis(labelLimit=90, labels=count <= 40),
        ),
        tooltip=[
            alt.Tooltip("truth:N", title="Truth"),
            alt.Tooltip("predicted:N", title="Predicted"),
            alt.Tooltip("count:Q", title="Pictures", format=","),
            alt.Tooltip("share:Q", title="Share of the class", format=".1%"),
        ],
    )
    legend = gradient_legend(orient="bottom", gradientLength=160, gradientThickness=8, format="~%")
    cells = base.mark_rect().encode(
        color=alt.Color(
            "share:Q",
            title="Share of the true class",
            scale=alt.Scale(range=["#8a929c14", "#8fc3ea", BLUE, "#0b4f86"], domain=[0, 0.15, 0.6, 1]),
            legend=legend,
        )
    )
    layers = [cells]
    if count <= CELLS_WITH_TEXT:
        layers.append(
            base.transform_filter("datum.count > 0")
            .mark_text(fontSize=12 if count <= 12 else 10)
            .encode(
                text=alt.Text("count:Q", format=","),
                color=alt.condition("datum.share > 0.45", alt.value("#ffffff"), alt.value("currentColor")),
            )
        )
    right, whole = float(np.trace(quality.matrix)), float(quality.matrix.sum())
    share = words.percent(right / max(whole, 1))
    caption = f"{right:,.0f} of {whole:,.0f} {quality.split} pictures are classified correctly ({share})."
    cell = 44 if count <= 10 else 36 if count <= 12 else 22 if count <= 25 else 10
    return figure(
        "confusion",
        f"Confusion matrix ({quality.split} set)",
        caption,
        alt.layer(*layers),
        {"cells": table},
        max(200, cell * count),
        wide=count > 25,
    )


def classes_figure(quality: Quality) -> Figure | None:
    """Images per class, a bar for each split."""
    counts = quality.counts
    names = quality.classes or sorted({name for part in counts.values() for name in part})
    if not counts or not names or not any(counts.values()):
        return None
    leading = counts.get("train") or next(iter(counts.values()))
    order = sorted(names, key=lambda name: -leading.get(name, 0))
    cut = len(order) > BARS_LIMIT
    shown = order[: BARS_LIMIT // 2] + order[-BARS_LIMIT // 2 :] if cut else order
    splits = [name for name in SPLITS if name in counts] + sorted(set(counts) - set(SPLITS))
    table: dict[str, list[Any]] = {
        "class": [name for name in shown for _ in splits],
        "split": [split for _ in shown for split in splits],
        "count": [counts[split].get(name, 0) for name in shown for split in splits],
    }
    chart = (
        alt.Chart(named("classes"))
        .mark_bar()
        .encode(
            y=alt.Y(
                "class:N",
                sort=shown,
                title=None,
                axis=name_axis(labelLimit=110),
            ),
            x=alt.X(
                "count:Q",
                title="Pictures",
                stack="zero",
                axis=alt.Axis(tickCount=6, format=",~d", tickMinStep=1),
            ),
            color=colours(
                "split:N",
                splits,
                [SPLITS[name][1] if name in SPLITS else GREY for name in splits],
                block_legend(),
            ),
            order=alt.Order("order:Q"),
            tooltip=[
                alt.Tooltip("class:N", title="Class"),
                alt.Tooltip("split:N", title="Set"),
                alt.Tooltip("count:Q", title="Pictures", format=","),
            ],
        )
    )
    table["order"] = [index for _ in shown for index in range(len(splits))]
    sizes = [leading.get(name, 0) for name in names]
    caption = f"{words.plural(len(names), 'class').replace('classs', 'classes')}; "
    caption += f"the largest has {max(sizes):,} pictures to learn from, the smallest {min(sizes):,}"
    caption += (
        f" ({max(sizes) / min(sizes):.1f} times as many)."
        if min(sizes) and max(sizes) > 1.1 * min(sizes)
        else "."
    )
    if cut:
        caption += f" Only the {BARS_LIMIT // 2} largest and smallest are drawn."
    return figure(
        "classes",
        "Pictures per class",
        caption,
        chart,
        {"classes": table},
        max(120, 20 * len(shown)),
        wide=False,
    )
