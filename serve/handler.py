"""Decode, preprocess, forward, answer: what multi-model-server calls for each request.

It calls `handle` once without data, to load the model, and then with a list of requests (more than one only
on a GPU). Whatever a caller sends gets an answer: an exception here would become a 503 for the whole list.
"""

from __future__ import annotations

import http
import io
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from serve import quick

# ruff: noqa: E402 (this has to come before model)
quick.import_torchvision()

from model import artifact, device, images
from serve import answer, events, process, request, settings
from serve.classifier import Classifier, Pixels
from serve.errors import RequestError, ServeError

log = logging.getLogger(__name__)

_classifier: Classifier
_limits: settings.Limits


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[bytes]:
    """multi-model-server's entry point: a body for each request; statuses and types go into `context`."""
    if data is None:
        load(context.system_properties)
        return []
    start = time.perf_counter()
    jobs = [Job.prepare(item.get("body"), context.get_all_request_header(i)) for i, item in enumerate(data)]
    decoded = time.perf_counter()
    pixels = [picture for job in jobs for picture in job.pixels]
    scores = iter([*_classifier.probabilities(pixels)] if pixels else [])
    forwarded = time.perf_counter()
    for job in jobs:
        job.finish([next(scores) for _ in job.pixels])
    for index, job in enumerate(jobs):
        context.set_response_status(job.status, http.HTTPStatus(job.status).phrase, index)
        context.set_response_content_type(index, job.media_type)
    if _log_requests:
        log_requests(jobs, context, start, decoded, forwarded)
    return [job.body for job in jobs]


class Job:
    """One request on its way: what was asked, its pictures, and in the end status, type and body."""

    def __init__(self) -> None:
        self.pixels: list[Pixels] = []
        self.asked: request.Request | None = None
        self.status, self.media_type, self.body, self.size = 200, answer.JSON, b"", 0

    @classmethod
    def prepare(cls, body: bytes | None, headers: Mapping[str, str]) -> Job:
        job = cls()
        try:
            job.size = len(body or b"")
            asked = request.parse(bytes(body or b""), headers, _limits)
            media_type = answer.choose(headers.get("accept", ""))
            job.pixels = [
                prepare(picture, number, asked.many) for number, picture in enumerate(asked.pictures)
            ]
            job.asked, job.media_type = asked, media_type
        except RequestError as error:
            job.fail(error.code, str(error))
        except Exception:
            log.exception("a request could not be read")
            job.fail(500, "the request could not be read; this is a fault of the server, and is in its log")
        return job

    def finish(self, scores: list[np.ndarray[Any, Any]]) -> None:
        if self.asked is None:
            return
        if not all(np.isfinite(row).all() for row in scores):
            self.fail(500, "the model gave no finite probabilities for this picture")
            return
        ranked = [answer.rank(row, _classifier.classes, self.asked.options) for row in scores]
        self.body = answer.render(ranked, self.asked.many, _classifier.model, self.media_type)

    def fail(self, code: int, message: str) -> None:
        self.pixels, self.asked = [], None
        self.status, self.media_type, self.body = code, answer.JSON, answer.error(code, message)


def prepare(picture: bytes | request.Array, number: int, many: bool) -> Pixels:
    """Decode and preprocess one picture, as the trainer's evaluation does. Raises RequestError 413 or 422."""
    preprocessing = _classifier.preprocessing
    try:
        if isinstance(picture, np.ndarray):
            return preprocessing.to_uint8(Image.fromarray(picture))
        check_size(picture)
        return preprocessing.to_uint8(images.decode(picture, preprocessing.min_side, _limits.pixels))
    except images.BadImage as error:
        raise RequestError(422, f"picture {number}: {error}" if many else str(error)) from error


def check_size(data: bytes) -> None:
    """Look at the header only. Raises RequestError 413; the decoder refuses what is no picture."""
    try:
        with Image.open(io.BytesIO(data), formats=images.FORMATS) as header:
            width, height = header.size
    except Exception:
        return
    request.check_size(width, height, _limits)


def load(properties: Mapping[str, Any]) -> None:
    """Make the model ready, or tell the supervisor why that cannot be, and end."""
    global _classifier, _limits, _log_requests  # noqa: PLW0603 (a function has no object)
    logging.getLogger("mms.service").setLevel(logging.WARNING)  # else it logs a metric for each request
    log.addHandler(logging.StreamHandler())  # stdout is multi-model-server's own
    log.propagate = False
    process.die_with_parent(os.getppid())
    events.send("started")
    start = time.perf_counter()
    try:
        _limits = settings.read_limits(os.environ)
        _log_requests = settings.flag(os.environ, "BYOC_LOG_REQUESTS")
        wanted: Any = os.environ.get("BYOC_DEVICE") or "auto"
        folder = Path(os.environ.get("BYOC_MODEL_DIR") or properties["model_dir"])
        threads = int(os.environ.get("BYOC_THREADS") or 1)
        _classifier = Classifier.load(folder, wanted, properties.get("gpu_id"), threads)
    except (artifact.ArtifactError, device.DeviceError, ServeError, OSError, MemoryError) as error:
        events.send("failed", message=str(error) or type(error).__name__)
        raise SystemExit(1) from error
    except Exception as error:
        log.exception("the model could not be loaded")
        events.send("failed", message=f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error
    where = device.describe(device.probe(), _classifier.device.type)
    events.send("loaded", seconds=time.perf_counter() - start, device=where, **_classifier.model)


_log_requests = False


def log_requests(jobs: list[Job], context: Any, start: float, decoded: float, forwarded: float) -> None:
    """One JSON line a request; times in milliseconds, for the whole list that was put through together."""
    end = time.perf_counter()
    for index, job in enumerate(jobs):
        events.send(
            "request", id=context.get_request_id(index), status=job.status, bytes=job.size,
            decode_ms=round(1e3 * (decoded - start), 2), forward_ms=round(1e3 * (forwarded - decoded), 2),
            answer_ms=round(1e3 * (end - forwarded), 2), pictures=len(job.pixels), together=len(jobs),
        )  # fmt: skip
