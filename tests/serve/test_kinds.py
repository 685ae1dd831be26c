"""The same file gives the same pixels in the trainer's evaluation, at the endpoint and in batch transform."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model.preprocess import Preprocessing
from serve.job import Job
from serve.settings import Limits
from tests.model import kinds
from train.data import Pictures
from train.listing import Listing

SIZE = Preprocessing(16, 18)
ALL = kinds.every()


def ask(body: bytes, content_type: str) -> Job:
    classifier: Any = SimpleNamespace(preprocessing=SIZE)
    return Job.prepare(body, {"content-type": content_type}, lambda _: classifier, Limits())


def test_trainer_endpoint_and_transform_agree(tmp_path: Path) -> None:
    for number, kind in enumerate(ALL):
        (tmp_path / str(number)).write_bytes(kind.data)
    names = tuple(map(str, range(len(ALL))))
    trained = Pictures(Listing(tmp_path, names, (0,) * len(ALL), ("a", "b")), SIZE)
    for number, kind in enumerate(ALL):
        pixels = trained.get(number)
        text = base64.b64encode(kind.data).decode()
        answers = [
            ask(kind.data, "image/jpeg"),
            ask(kind.data, "application/octet-stream"),
            ask(json.dumps({"image": text}).encode(), "application/json"),
            ask(json.dumps({"instances": [{"b64": text}]}).encode(), "application/jsonlines"),
        ]
        if pixels is None:
            reasons = [json.loads(job.body)["message"].removeprefix("picture 0: ") for job in answers]
            assert [job.status for job in answers] == [422] * 4, kind.name
            assert reasons == [trained.faults[number]] * 4, kind.name
            continue
        for job in answers:
            assert job.status == 200, (kind.name, job.body)
            assert np.array_equal(job.pixels[0], pixels), kind.name
        stream = io.BytesIO()
        np.save(stream, kind.pixels)
        expected = ask(stream.getvalue(), "application/x-npy").pixels[0]
        assert abs(expected.astype(int) - pixels).max() <= kind.tolerance, kind.name


@pytest.mark.parametrize("body", [b'{"url": "https://example.com/1.jpg"}', base64.b64encode(ALL[0].data)])
def test_text_in_place_of_a_picture_is_named(body: bytes) -> None:
    job = ask(body, "image/jpeg")
    assert job.status == 422
    assert b"application/json" in job.body


def test_a_picture_that_is_sent_as_json_is_named() -> None:
    job = ask(ALL[0].data, "application/json")
    assert (job.status, json.loads(job.body)["message"]) == (
        400, "the body is a picture and not JSON: send it as image/jpeg",
    )  # fmt: skip


@pytest.mark.parametrize(
    "document", [{"url": "https://example.com/1.jpg"}, {"image": "https://example.com/1.jpg"}]
)
def test_a_web_address_is_answered_in_words(document: dict[str, str]) -> None:
    job = ask(json.dumps(document).encode(), "application/json")
    assert job.status == 400
    assert b"fetch" in job.body


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n"])
def test_an_empty_line_of_a_transform_job_has_an_empty_answer(body: bytes) -> None:
    classifier: Any = SimpleNamespace(preprocessing=SIZE)
    headers = {"content-type": "application/jsonlines"}
    job = Job.prepare(body, headers, lambda _: classifier, Limits(batch=True))
    assert (job.status, job.body, job.pixels) == (200, b"", [])
    assert Job.prepare(body, headers, lambda _: classifier, Limits()).status == 400
