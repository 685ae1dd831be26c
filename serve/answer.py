"""From probabilities to the bytes of an answer, in the format that the caller accepts."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from serve.errors import RequestError
from serve.request import Options

JSON: Final = "application/json"
JSON_LINES: Final = "application/jsonlines"
CSV: Final = "text/csv"
_FORMATS: Final = {
    "*/*": JSON, "application/*": JSON, JSON: JSON,
    JSON_LINES: JSON_LINES, "application/x-ndjson": JSON_LINES, "application/x-jsonlines": JSON_LINES,
    CSV: CSV, "text/*": CSV,
}  # fmt: skip


def choose(accept: str) -> str:
    """The format for an Accept header. Raises RequestError 406."""
    if not accept.strip():
        return JSON
    wanted = []
    for position, item in enumerate(accept.split(",")):
        media_type, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if media_type in _FORMATS and quality > 0:
            wanted.append((-quality, position, _FORMATS[media_type]))
    if not wanted:
        raise RequestError(406, f"this Accept cannot be met; there are {JSON}, {JSON_LINES} and {CSV}")
    return min(wanted)[2]


def rank(
    probabilities: np.ndarray[Any, np.dtype[np.float32]], classes: Sequence[str], options: Options
) -> list[dict[str, Any]]:
    """The most probable classes of one picture, best first. Equal ones keep the classes' order."""
    count = len(classes) if options.top_k is None else min(options.top_k, len(classes))
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [
        {"class": classes[index], "index": int(index), "probability": float(f"{probabilities[index]:.7g}")}
        for index in order
        if probabilities[index] >= options.threshold
    ]


def document(ranking: list[dict[str, Any]], model: Mapping[str, Any]) -> dict[str, Any]:
    """What is said about one picture."""
    return {"predictions": ranking, "model": model}


def render(documents: Sequence[Mapping[str, Any]], many: bool, media_type: str) -> bytes:
    """The body.

    JSON: {"predictions": [{"class", "index", "probability"}, ...], "model": {...}}, or a list of such objects
    if the caller sent a list. JSON Lines: one such object a line. CSV, without a header: picture (from 0),
    rank (from 1), class, index, probability.
    """
    if media_type == CSV:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for number, document in enumerate(documents):
            for place, entry in enumerate(document["predictions"], start=1):
                writer.writerow([number, place, entry["class"], entry["index"], entry["probability"]])
        return text.getvalue().encode()
    if media_type == JSON_LINES:
        return b"".join(orjson.dumps(document) + b"\n" for document in documents)
    return orjson.dumps(documents if many else documents[0])


def error(code: int, message: str) -> bytes:
    """{"code", "message"}. What a caller sent may be no valid text: it is replaced, never passed on raw."""
    clean = message.encode("utf-8", "replace").decode("utf-8")
    return orjson.dumps({"code": code, "message": clean})
