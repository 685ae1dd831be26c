from __future__ import annotations

import io
import json
from typing import Any

import pytest

from local.jobs.records import MB, Processing, Record, RecordProblem, batches, payload, split, whole


def record(text: bytes) -> Record:
    return Record(text, text)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"a\r\nb", [b"a\r", b"b"]),
    ],
)
def test_lines(content: bytes, lines: list[bytes]) -> None:
    assert list(split(io.BytesIO(content), MB)) == lines


def test_a_record_may_have_exactly_the_limit() -> None:
    full, more = b"x" * MB, b"x" * (MB + 1)
    assert list(split(io.BytesIO(full + b"\n" + full), MB)) == [full, full]
    assert whole(io.BytesIO(full), MB) == full
    assert whole(io.BytesIO(more), None) == more
    with pytest.raises(RecordProblem, match="MaxPayloadInMB, which is 1"):
        list(split(io.BytesIO(more + b"\n"), MB))
    with pytest.raises(RecordProblem, match="MaxPayloadInMB, which is 1"):
        whole(io.BytesIO(more), MB)


def test_a_request_takes_as_many_records_as_fit() -> None:
    records = [record(text) for text in (b"aa", b"bb", b"cc", b"dddddddd")]
    assert [payload(batch) for batch in batches(records, 5, several=True)] == [b"aa\nbb", b"cc", b"dddddddd"]
    assert [payload(batch) for batch in batches(records, 4, several=True)][:2] == [b"aa", b"bb"]
    assert [payload(batch) for batch in batches(records, None, several=True)] == [b"aa\nbb\ncc\ndddddddd"]
    assert [payload(batch) for batch in batches(records, 100, several=False)] == [
        item.sent for item in records
    ]


def processing(kind: str = "application/jsonlines", split: str = "Line", **given: str) -> Processing:
    return Processing(
        {
            "TransformInput": {"ContentType": kind, "SplitType": split},
            "TransformOutput": {"Accept": kind, "AssembleWith": "Line"},
            "DataProcessing": given,
        }
    )


def test_without_data_processing_nothing_is_touched() -> None:
    plain = processing(kind="image/png", InputFilter="$", OutputFilter="$", JoinSource="None")
    assert plain.record(b"\xff").sent == b"\xff"
    assert plain.answers([record(b"\xff")], b"\xfe\n\n") == [b"\xfe\n\n"]


def test_json_is_filtered_joined_and_filtered_again() -> None:
    job = processing(InputFilter="$.x", JoinSource="Input", OutputFilter="$['id','SageMakerOutput']")
    records = [job.record(json.dumps({"id": n, "x": [n, "ä"]}).encode()) for n in (1, 2)]
    assert [item.sent.decode() for item in records] == ['[1,"ä"]', '[2,"ä"]']
    assert [json.loads(line) for line in job.answers(records, b'{"label": 5}\n6\n')] == [
        {"id": 1, "SageMakerOutput": {"label": 5}},
        {"id": 2, "SageMakerOutput": 6},
    ]


def test_json_that_is_no_object_is_joined_as_one() -> None:
    job = processing(JoinSource="Input")
    assert job.answers([job.record(b"[1]")], b"2") == [b'{"SageMakerInput":[1],"SageMakerOutput":2}']


def test_a_whole_json_object_may_have_lines() -> None:
    job = processing("application/json", "None", JoinSource="Input")
    assert job.answers([job.record(b'{\n"a": 1}')], b'{\n"b": 2}') == [b'{"a":1,"SageMakerOutput":{"b":2}}']


def test_csv_rows_are_joined_at_their_end() -> None:
    job = processing(
        "text/csv; charset=utf-8", InputFilter="$[1:]", JoinSource="Input", OutputFilter="$[0,-1]"
    )
    records = [job.record(row) for row in (b'"a, b",1,2\r', b"c,3,4")]
    assert [item.sent for item in records] == [b"1,2", b"3,4"]
    assert job.answers(records, b"0.5\n0.25\n") == [b'"a, b",0.5', b"c,0.25"]


@pytest.mark.parametrize(
    ("job", "row", "answer", "says"),
    [
        (processing(JoinSource="Input"), b"{}", b"1\n2", "1 records with 2 lines"),
        (processing(JoinSource="Input"), b"{", b"1", "the input is no JSON"),
        (processing(JoinSource="Input"), b"{}", b"one", "the answer is no JSON"),
        (processing(OutputFilter="$.x"), b"{}", b"{}", "no 'x'"),
        (processing("text/csv", JoinSource="Input"), b'"a', b"1", "the input is no CSV row"),
        (processing("text/csv", JoinSource="Input"), b"\xff", b"1", "the input is no CSV row"),
    ],
)
def test_what_cannot_be_joined_says_why(job: Processing, row: bytes, answer: bytes, says: str) -> None:
    with pytest.raises(RecordProblem, match=says):
        job.answers([job.record(row)], answer)


def test_an_input_filter_that_finds_nothing() -> None:
    with pytest.raises(RecordProblem, match="no 'x'"):
        processing(InputFilter="$.x").record(b"{}")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kind": "image/png", "JoinSource": "Input"}, "CSV and JSON"),
        ({"kind": "text/csv", "split": "None", "JoinSource": "Input"}, "SplitType Line"),
        ({"OutputFilter": "$..x"}, "JSONPath"),
    ],
)
def test_what_is_not_supported_is_told_at_once(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        processing(**given)
