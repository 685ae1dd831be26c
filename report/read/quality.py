"""What the model gets right and wrong, and which pictures it learned from: the trainer's report.json."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from report import words
from report.read.series import Array
from report.read.values import mapping, number, sequence

THUMBNAIL_LIMIT = 60_000
SKIPPED_SHOWN = 30


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
class Precision:
    """How the network answers in a lower precision: shares of `pictures`, NaN where nothing was measured."""

    name: str
    accepted: bool
    reason: str
    pictures: float
    agreement: float
    agreement_clear: float
    accuracy: float
    accuracy_fp32: float


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
    recipe: str = ""
    """What the trainer chose where the settings leave it open, as a sentence."""
    environment: dict[str, Any] = field(default_factory=dict)
    precisions: list[Precision] = field(default_factory=list)


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
        recipe=str(raw.get("recipe") or ""),
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
    for name, part in mapping(raw.get("precisions")).items():
        one = mapping(part)
        shares = ("pictures", "agreement", "agreement_clear", "accuracy", "accuracy_fp32")
        quality.precisions.append(
            Precision(
                str(name),
                one.get("accepted") is True,
                str(one.get("reason") or ""),
                *(number(one.get(key)) for key in shares),
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


def _count(counted: object, listed: list[tuple[str, str]]) -> int:
    """The trainer names no more than a thousand files and counts them all."""
    return max(counted, len(listed)) if isinstance(counted, int) else len(listed)


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
    confused = []
    for index in order:
        row, column = divmod(int(index), len(matrix))
        if matrix[row, column] > 0:
            confused.append(
                Confusion(
                    quality.classes[row],
                    quality.classes[column],
                    int(matrix[row, column]),
                    int(quality.matrix[row].sum()),
                )
            )
    return confused
