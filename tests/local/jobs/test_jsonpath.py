from __future__ import annotations

from typing import Any

import pytest

from local.jobs.jsonpath import PathError, compile_path

RECORD = {"id": 7, "features": [1, 2, 3], "deep": {"a": {"x": 1}, "b": {"x": 2}}, "a b": 0}
ROW = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("path", "value", "selected"),
    [
        ("$", RECORD, RECORD),
        (" $ ", ROW, ROW),
        ("$.id", RECORD, 7),
        ("$['a b']", RECORD, 0),
        ("$.features[0]", RECORD, 1),
        ("$.features[-1]", RECORD, 3),
        ("$.features[0,2]", RECORD, [1, 3]),
        ("$['id','a b']", RECORD, {"id": 7, "a b": 0}),
        ("$.deep.['a','b']", RECORD, RECORD["deep"]),
        ("$.deep.*.x", RECORD, [1, 2]),
        ("$.features[*]", RECORD, [1, 2, 3]),
        ("$[1:]", ROW, ["b", "c", "d"]),
        ("$[:1]", ROW, ["a", "b"]),
        ("$[1:2]", ROW, ["b", "c"]),
        ("$[0:-1]", ROW, ROW),
        ("$[-2:]", ROW, ["c", "d"]),
        ("$[0,2:]", ROW, ["a", "c", "d"]),
    ],
)
def test_what_a_path_selects(path: str, value: Any, selected: Any) -> None:
    assert compile_path(path)(value) == selected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "id",
        "$..id",
        "$.",
        "$[",
        "$[]",
        "$['id'",
        "$[1:2:3]",
        "$[?(@.id)]",
        "$.id()",
        "$['a','b'].c",
        "$[a]",
    ],
)
def test_a_path_that_is_not_supported_is_refused(path: str) -> None:
    with pytest.raises(PathError, match=r"supported|nothing may follow"):
        compile_path(path)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("$.name", RECORD, "no 'name'"),
        ("$['id','name']", RECORD, "no 'name'"),
        ("$.id.x", RECORD, "no 'x'"),
        ("$[4]", ROW, "index 4"),
        ("$[0,4]", ROW, "index 4"),
        ("$[4:]", ROW, "index 4"),
        ("$[0]", RECORD, "no list"),
        ("$.id.*", RECORD, "no parts"),
    ],
)
def test_a_record_without_what_is_named_is_an_error(path: str, value: Any, says: str) -> None:
    with pytest.raises(PathError, match=says):
        compile_path(path)(value)
