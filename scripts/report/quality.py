"""What the model gets right and wrong, and which pictures it learned from: from the trainer's report.json."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import numpy as np

from scripts.report import words
from scripts.report.charts import BLUE, GREEN, INK, ORANGE, Figure, figure, named
from scripts.report.data import Array, mapping, number, sequence

CELLS_WITH_TEXT = 20
MATRIX_LIMIT = 100
BARS_LIMIT = 40
THUMBNAIL_LIMIT = 60_000
SKIPPED_SHOWN = 30
SPLIT_COLOURS = {"train": BLUE, "validation": ORANGE, "test": GREEN}


@dataclass(frozen=True)
class ClassRow:
    name: str
    support: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Confusion:
    truth: str
    predicted: str
    count: int
    of: int


@dataclass(frozen=True)
class Mistake:
    file: str
    truth: str
    predicted: str
    probability: float
    image: str
    """A data: URL, or nothing where the picture was not a small PNG."""


@dataclass(frozen=True)
class Split:
    name: str
    images: int
    skipped: list[tuple[str, str]]
    skipped_count: int
    repeated: list[tuple[str, str]]
    """Two files with the same content."""
    repeated_count: int
    leaked: list[tuple[str, str]]
    """A file of the training set, and one of this set with the same content."""
    leaked_count: int
    smallest: str
    largest: str


@dataclass
class Quality:
    classes: list[str] = field(default_factory=list)
    split: str = ""
    matrix: Array = field(default_factory=lambda: np.empty((0, 0)))
    matrix_omitted: str = ""
    """Why there is no matrix."""
    per_class: list[ClassRow] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)


def read_quality(raw: Mapping[str, Any]) -> Quality:
    """report.json as the trainer writes it (schema 1); what does not fit is left out."""
    classes = [str(name) for name in sequence(raw.get("classes"))]
    rows = [[number(value) for value in sequence(row)] for row in sequence(raw.get("confusion_matrix"))]
    square = bool(rows) and all(len(row) == len(rows) for row in rows) and len(classes) == len(rows)
    quality = Quality(
        classes=classes,
        split=str(raw.get("split") or "test"),
        matrix=np.nan_to_num(np.array(rows)) if square else np.empty((0, 0)),
        matrix_omitted=str(raw.get("confusion_matrix_omitted") or ""),
        settings=dict(mapping(raw.get("settings"))),
        environment=dict(mapping(raw.get("environment"))),
    )
    for item in map(mapping, sequence(raw.get("per_class"))):
        values = [number(item.get(key)) for key in ("support", "precision", "recall", "f1")]
        quality.per_class.append(ClassRow(str(item.get("class", "")), *values))
    quality.per_class.sort(key=lambda row: (row.f1 if math.isfinite(row.f1) else -1.0, row.name))
    for item in map(mapping, sequence(raw.get("worst_mistakes"))[:12]):
        quality.mistakes.append(
            Mistake(
                file=str(item.get("file", "")),
                truth=str(item.get("truth", "")),
                predicted=str(item.get("predicted", "")),
                probability=number(item.get("probability")),
                image=thumbnail(item.get("image_png_base64")),
            )
        )
    for name, part in mapping(raw.get("data")).items():
        _add_split(quality, str(name), mapping(part), _pairs(raw.get(f"in_train_and_{name}")))
    return quality


def _pairs(raw: object) -> list[tuple[str, str]]:
    return [(str(pair[0]), str(pair[1])) for pair in map(sequence, sequence(raw)) if len(pair) == 2]


def _add_split(quality: Quality, name: str, part: Mapping[str, Any], leaked: list[tuple[str, str]]) -> None:
    counts = {
        str(key): int(value)
        for key, value in mapping(part.get("per_class")).items()
        if isinstance(value, int)
    }
    skipped = [
        (str(mapping(item).get("file", "")), str(mapping(item).get("reason", "")))
        for item in sequence(part.get("skipped"))
    ]
    repeated = _pairs(part.get("repeated"))
    ranked = sorted(counts.items(), key=lambda item: item[1])
    quality.counts[name] = counts
    images = part.get("images")
    quality.splits.append(
        Split(
            name=name,
            images=images if isinstance(images, int) else sum(counts.values()),
            skipped=skipped[:SKIPPED_SHOWN],
            skipped_count=_count(part.get("skipped_count"), skipped),
            repeated=repeated[:SKIPPED_SHOWN],
            repeated_count=_count(part.get("repeated_count"), repeated),
            leaked=leaked[:SKIPPED_SHOWN],
            leaked_count=len(leaked),
            smallest=f"{ranked[0][0]} ({ranked[0][1]:,})" if ranked else words.NOT_KNOWN,
            largest=f"{ranked[-1][0]} ({ranked[-1][1]:,})" if ranked else words.NOT_KNOWN,
        )
    )


def _count(told: object, listed: list[tuple[str, str]]) -> int:
    """The trainer names no more than a thousand files and counts them all."""
    return max(told, len(listed)) if isinstance(told, int) else len(listed)


def thumbnail(encoded: object) -> str:
    """A data: URL of a small PNG, or nothing. It is decoded to see that it is one."""
    if not isinstance(encoded, str) or len(encoded) > THUMBNAIL_LIMIT:
        return ""
    try:
        content = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        return ""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return ""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def confusions(quality: Quality, limit: int = 10) -> list[Confusion]:
    """The most frequent mistakes: truth, prediction, how many of how many."""
    matrix = quality.matrix.copy()
    if not matrix.size:
        return []
    np.fill_diagonal(matrix, 0)
    order = np.argsort(matrix, axis=None, kind="stable")[::-1][:limit]
    found = []
    for index in order:
        row, column = divmod(int(index), len(matrix))
        if matrix[row, column] > 0:
            found.append(
                Confusion(
                    quality.classes[row],
                    quality.classes[column],
                    int(matrix[row, column]),
                    int(quality.matrix[row].sum()),
                )
            )
    return found


def matrix_figure(quality: Quality) -> Figure | None:
    count = len(quality.classes)
    if not quality.matrix.size or count > MATRIX_LIMIT:
        return None
    sums = quality.matrix.sum(axis=1)
    shares = np.divide(
        quality.matrix, sums[:, None], out=np.zeros_like(quality.matrix), where=sums[:, None] > 0
    )
    # Two classes may have the same name after shortening: rows are told apart by their index.
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
            axis=alt.Axis(
                labelAngle=0 if count <= 12 and max(map(len, quality.classes)) <= 4 else -45,
                orient="top",
                labelLimit=90,
                ticks=False,
                domain=False,
                grid=False,
                labels=count <= 40,
            ),
        ),
        y=alt.Y(
            "truth:N",
            title="True class",
            sort=quality.classes,
            axis=alt.Axis(labelLimit=90, ticks=False, domain=False, grid=False, labels=count <= 40),
        ),
        tooltip=[
            alt.Tooltip("truth:N", title="Truth"),
            alt.Tooltip("predicted:N", title="Predicted"),
            alt.Tooltip("count:Q", title="Pictures", format=","),
            alt.Tooltip("share:Q", title="Share of the class", format=".1%"),
        ],
    )
    legend = alt.Legend(
        orient="bottom", direction="horizontal", gradientLength=160, gradientThickness=8, format="~%"
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "share:Q",
            title="Share of the true class",
            scale=alt.Scale(range=["#8a929c14", "#8fc3ea", "#2b87c8", "#0b4f86"], domain=[0, 0.15, 0.6, 1]),
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
    splits = [name for name in ("train", "validation", "test") if name in counts] + sorted(
        set(counts) - {"train", "validation", "test"}
    )
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
                axis=alt.Axis(labelLimit=110, ticks=False, domain=False, grid=False),
            ),
            x=alt.X(
                "count:Q",
                title="Pictures",
                stack="zero",
                axis=alt.Axis(tickCount=6, format=",~d", tickMinStep=1),
            ),
            color=alt.Color(
                "split:N",
                title=None,
                sort=splits,
                scale=alt.Scale(domain=splits, range=[SPLIT_COLOURS.get(name, "#8a929c") for name in splits]),
                legend=alt.Legend(orient="top", symbolType="square"),
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


__all__ = ["INK", "Quality", "classes_figure", "confusions", "matrix_figure", "read_quality", "thumbnail"]
