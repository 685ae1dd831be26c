from __future__ import annotations

import base64
import io
import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mms.context import Context, RequestProcessor

from serve import handler, job, loading
from serve.classifier import Classifier
from serve.settings import Limits

from .conftest import encode, exit_code_in_a_fork, picture


@pytest.fixture(scope="module", autouse=True)
def loaded(model_dir: Path) -> None:
    classifier = Classifier.load(model_dir, "cpu")
    handler._worker = loading.Worker(lambda _headers: classifier, Limits(pixels=100_000, aspect=20))


def ask(*requests: tuple[bytes | None, dict[str, str]]) -> list[tuple[int, Any]]:
    context = Context("model", "", None, len(requests), None, "")
    context.request_processor = [RequestProcessor(headers) for _, headers in requests]
    bodies = handler.handle(
        [{} if body is None else {"body": bytearray(body)} for body, _ in requests], context
    )
    return [(context.get_response_status(index)[0], json.loads(body)) for index, body in enumerate(bodies)]


def test_a_bad_request_does_not_harm_its_neighbours() -> None:
    good = (encode(picture(1)), {"content-type": "image/png"})
    alone = ask(good)[0]
    assert alone[0] == 200
    answers = ask((b"rubbish", {}), good, (None, {}), good, (encode(picture(2)), {"accept": "image/gif"}))
    assert [status for status, _ in answers] == [422, 200, 400, 200, 406]
    for _, body in answers[1:4:2]:
        for found, expected in zip(body["predictions"], alone[1]["predictions"], strict=True):
            assert found == pytest.approx(expected, abs=1e-4)


def test_every_picture_of_a_list_gets_its_own_answer() -> None:
    array = np.stack([np.asarray(picture(seed)) for seed in range(3)])
    stream = io.BytesIO()
    np.save(stream, array)
    [(status, body)] = ask((stream.getvalue(), {"content-type": "application/x-npy"}))
    assert status == 200
    singles = [ask((encode(picture(seed)), {}))[0][1] for seed in range(3)]
    for found, expected in zip(body, singles, strict=True):
        assert found["predictions"][0] == pytest.approx(expected["predictions"][0], abs=1e-4)


@pytest.mark.parametrize(("size", "says"), [((400, 400), "100000"), ((4, 200), "20 to 1")])
def test_pictures_beyond_the_limits_are_413(size: tuple[int, int], says: str) -> None:
    [(status, body)] = ask((encode(picture(0, *size)), {}))
    assert status == 413
    assert says in body["message"]


def test_the_pictures_of_a_request_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "decode", lambda *_: pytest.fail("decoded before all were counted"))
    one = base64.b64encode(encode(picture(0, 300, 300))).decode()
    document = json.dumps({"images": [one] * 6}).encode()
    [(status, body)] = ask((document, {"content-type": "application/json"}))
    assert status == 413
    assert "picture 5: " in body["message"]


def test_scores_that_are_no_numbers_are_an_honest_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Classifier, "probabilities", lambda _self, pictures: np.full((len(pictures), 5), np.nan)
    )
    [(status, body)] = ask((encode(picture()), {}))
    assert status == 500
    assert "finite" in body["message"]


def test_a_request_that_hangs_ends_its_process() -> None:
    def hang(_headers: object) -> Classifier:
        while True:
            pass

    def answer() -> None:
        handler._worker = loading.Worker(hang, Limits(), seconds=1)
        ask((b"x", {}))

    begin = time.monotonic()
    assert exit_code_in_a_fork(answer) == -signal.SIGALRM
    assert time.monotonic() - begin < 30


def test_a_fault_of_ours_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(job, "check_size", broken)
    [(status, body)] = ask((encode(picture()), {}))
    assert status == 500
    assert "secret" not in json.dumps(body)


def test_settings_may_be_written_in_capitals(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "BYOC_DEVICE": "CPU",
        "BYOC_PRECISION": "FP32",
        "BYOC_MODEL_DIR": str(model_dir),
    }.items():
        monkeypatch.setenv(name, value)
    assert "fp32" in loading._load({})[1]
