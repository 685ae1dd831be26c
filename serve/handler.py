"""Decode, preprocess, forward, answer: what multi-model-server calls for each request.

It calls `handle` once without data, to load the model, and then with a list of requests (more than one only
on a GPU). Whatever a caller sends gets an answer: an exception here would become a 503 for the whole list.
"""

from __future__ import annotations

import http
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from serve import loading
from serve.job import Job

_worker: loading.Worker


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[bytes]:
    """multi-model-server's entry point: returns a body for each request, sets status and headers."""
    global _worker  # noqa: PLW0603 (a function has no object)
    if data is None:
        _worker = loading.start(context.system_properties)
        return []
    headers = [context.get_all_request_header(index) for index in range(len(data))]
    # SIGALRM kills this process if it hangs, in whatever code; multi-model-server then starts another worker.
    # Its own timeout starts another one too, but leaves the hanging one alive.
    signal.alarm(_worker.seconds)
    try:
        return answer([item.get("body") for item in data], headers, context)
    finally:
        signal.alarm(0)


def answer(bodies: Sequence[bytes | None], headers: Sequence[Mapping[str, str]], context: Any) -> list[bytes]:
    """Answer a list of requests: decode all, run each model once over its pictures, write the answers."""
    begin = time.perf_counter()
    jobs = [
        Job.prepare(body, header, _worker.choose, _worker.limits)
        for body, header in zip(bodies, headers, strict=True)
    ]
    decoded = time.perf_counter()
    for classifier in {job.classifier for job in jobs if job.pixels}:
        if classifier is not None:
            mine = [job for job in jobs if job.classifier is classifier]
            scores: list[Any] = [*classifier.probabilities([pixels for job in mine for pixels in job.pixels])]
            for job in mine:
                job.finish([scores.pop(0) for _ in job.pixels])
    end = time.perf_counter()
    for index, job in enumerate(jobs):
        context.set_response_status(job.status, http.HTTPStatus(job.status).phrase, index)
        context.set_response_content_type(index, job.media_type)
        # The front end removes these two headers, and writes them into its record of the request.
        context.set_response_header(index, "x-byoc-worked", f"{1e3 * (end - begin):.2f}")
        context.set_response_header(
            index,
            "x-byoc-parts",
            f'"decode_ms":{1e3 * (decoded - begin):.2f},"forward_ms":{1e3 * (end - decoded):.2f},'
            f'"pictures":{job.pictures},"batch":{len(jobs)}',
        )
    return [job.body for job in jobs]
