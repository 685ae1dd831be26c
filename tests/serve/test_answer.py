from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve import answer
from serve.errors import RequestError
from serve.request import Options

CLASSES = ("a", 'b,"quoted"', "c\nd")
SCORES = np.array([0.2, 0.5, 0.3], dtype=np.float32)
MODEL = {"architecture": "resnet18", "classes": 3, "version": "0"}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("application/x-ndjson", "application/jsonlines"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("image/png, TEXT/CSV ; q=0.1", "text/csv"),
    ],
)
def test_formats_are_chosen_by_accept(accept: str, expected: str) -> None:
    assert answer.choose(accept) == expected


@pytest.mark.parametrize("accept", ["image/png", "text/csv;q=0", "application/json;q=x", "nonsense"])
def test_an_accept_that_cannot_be_met_is_406(accept: str) -> None:
    with pytest.raises(RequestError) as caught:
        answer.choose(accept)
    assert caught.value.code == 406


def test_ranking() -> None:
    best = answer.rank(SCORES, CLASSES, Options(2))
    assert [(entry["class"], entry["index"]) for entry in best] == [(CLASSES[1], 1), (CLASSES[2], 2)]
    assert best[0]["probability"] == pytest.approx(0.5)
    assert len(answer.rank(SCORES, CLASSES, Options(None))) == 3
    assert len(answer.rank(SCORES, CLASSES, Options(99, threshold=0.25))) == 2
    assert [entry["index"] for entry in answer.rank(np.full(3, 0.25, np.float32), CLASSES, Options(3))] == [
        0,
        1,
        2,
    ]


def test_json_is_one_object_or_a_list_of_such() -> None:
    ranking = answer.rank(SCORES, CLASSES, Options(3))
    one = json.loads(answer.render([answer.document(r, MODEL) for r in [ranking]], False, answer.JSON))
    assert one == {"predictions": ranking, "model": MODEL}
    assert json.loads(answer.render([answer.document(r, MODEL) for r in [ranking]], True, answer.JSON)) == [
        one
    ]
    lines = answer.render(
        [answer.document(r, MODEL) for r in [ranking, ranking]], True, answer.JSON_LINES
    ).splitlines()
    assert [json.loads(line) for line in lines] == [one, one]


def test_csv_survives_odd_class_names() -> None:
    ranking = answer.rank(SCORES, CLASSES, Options(3))
    text = answer.render([answer.document(r, MODEL) for r in [ranking, ranking]], True, answer.CSV).decode()
    rows = list(csv.reader(text.splitlines(keepends=True)))
    assert [row[2] for row in rows] == [CLASSES[1], CLASSES[2], CLASSES[0]] * 2
    assert [row[:2] for row in rows[2:4]] == [["0", "3"], ["1", "1"]]


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), st.integers(1, 5), st.floats(0, 1))
def test_every_answer_is_valid_json(scores: list[float], top_k: int, threshold: float) -> None:
    ranking = answer.rank(np.array(scores, dtype=np.float32), CLASSES, Options(top_k, threshold))
    document = json.loads(answer.render([answer.document(r, MODEL) for r in [ranking]], False, answer.JSON))
    found = [entry["probability"] for entry in document["predictions"]]
    assert found == sorted(found, reverse=True)
    assert len(found) <= top_k


@given(st.text(st.characters(codec=None)))
def test_every_error_is_valid_json(message: str) -> None:
    assert json.loads(answer.error(400, message))["code"] == 400
