"""`report.json`: what the training found out, for people; beside it nothing else is needed to draw it."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from contract.files import write_atomically
from model import images
from train.data import Pictures, repeated_pictures
from train.evaluation import Result

log = logging.getLogger("train")

SCHEMA: Final = 1
_WORST: Final = 10
_THUMBNAIL: Final = 128
MOST_CLASSES: Final = 2000  # of a confusion matrix: a larger one would be larger than all else
_LISTED: Final = 1000  # skipped files that are named; the rest is counted


def write(
    path: Path,
    result: Result,
    split: str,
    pictures: Mapping[str, Pictures],
    *,
    settings: Mapping[str, Any],
    recipe: str,
    environment: Mapping[str, Any],
    history: list[dict[str, float]],
    metrics: Mapping[str, float],
    duplicates: Mapping[str, list[tuple[str, str]]],
    precisions: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the report on `result`, which is of the split named `split`.

    `recipe` says what was chosen where the settings leave it open;
    `duplicates` names for each other split the files that are in training too, as pairs (there, here);
    `precisions` is what model.json says of those that an endpoint may compute in.
    """
    classes = pictures[split].listing.classes
    omitted = len(classes) > MOST_CLASSES
    if omitted:
        log.warning(
            "report.json holds no confusion matrix: %d classes are more than the %d that it has room for",
            len(classes), MOST_CLASSES,
        )  # fmt: skip
    document = {
        "schema": SCHEMA,
        "classes": list(classes),
        "split": split,
        "metrics": dict(metrics),
        "confusion_matrix": [] if omitted else result.confusion().tolist(),
        "confusion_matrix_omitted": f"left out above {MOST_CLASSES:,} classes, and there are {len(classes):,}"
        if omitted
        else None,
        "per_class": _per_class(result, classes),
        "classes_left_out_of_macro_f1": result.absent,
        "data": {name: _data(those) for name, those in pictures.items()},
        **{
            f"in_train_and_{name}": [list(pair) for pair in those[:_LISTED]]
            for name, those in duplicates.items()
        },
        "worst_mistakes": _worst_mistakes(result, pictures[split]),
        "history": history,
        "settings": dict(settings),
        "recipe": recipe,
        "environment": dict(environment),
        "precisions": dict(precisions),
    }
    # Names of files need not be UTF-8; what then stands for a byte is valid JSON.
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, text.encode(errors="backslashreplace"), durable=True)


def _per_class(result: Result, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    table = result.per_class()
    return [
        {
            "class": name,
            "support": int(table["support"][index]),
            **{key: round(float(table[key][index]), 6) for key in ("precision", "recall", "f1")},
        }
        for index, name in enumerate(classes)
    ]


def _data(pictures: Pictures) -> dict[str, Any]:
    skipped, repeated = pictures.skipped, repeated_pictures(pictures)
    return {
        "images": len(pictures) - pictures.unreadable,
        "per_class": pictures.listing.per_class(),
        "skipped_count": len(skipped),
        "skipped": [dataclasses.asdict(one) for one in skipped[:_LISTED]],
        "repeated_count": len(repeated),
        "repeated": [list(pair) for pair in repeated[:_LISTED]],
    }


def _worst_mistakes(result: Result, pictures: Pictures) -> list[dict[str, Any]]:
    """Those where the network was surest of a wrong answer."""
    wrong = np.flatnonzero(result.predicted != result.labels)
    sure = result.probabilities[wrong, result.predicted[wrong]]
    listing = pictures.listing
    mistakes = []
    for number in wrong[np.argsort(-sure, kind="stable")][:_WORST]:
        file = listing.files[int(result.indices[number])]
        predicted = int(result.predicted[number])
        mistakes.append(
            {
                "file": file,
                "truth": listing.classes[int(result.labels[number])],
                "predicted": listing.classes[predicted],
                "probability": round(float(result.probabilities[number, predicted]), 6),
                "image_png_base64": _thumbnail(listing.root / file),
            }
        )
    return mistakes


def _thumbnail(path: Path) -> str:
    try:
        image = images.read(path, min_side=2 * _THUMBNAIL)
    except images.BadImage:
        return ""  # it was readable a minute ago; the mistake is worth telling without it
    image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
