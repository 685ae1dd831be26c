"""Logs as they grow, as a whole, and their ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from contract.findings import StopLine, format_line
from report.read import logs as module
from report.read.logs import LogTail, read_end, read_lines
from tests.report.read.growing import Logs
from tests.report.read.test_inputs import Logs as Whole


@pytest.fixture
def logs() -> Logs:
    return Logs()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)


def test_log_lines_come_once_and_across_pages(logs: Logs) -> None:
    tail = LogTail(SimpleNamespace(logs=logs), "group", "j/")  # type: ignore[arg-type]
    assert list(tail.read()) == []
    logs.streams["j/algo-1-17"] = ["a", "b", "c"]
    logs.streams["j2/algo-1-17"] = ["of another job"]
    assert list(tail.read()) == ["a", "b", "c"]
    assert list(tail.read()) == []
    logs.streams["j/algo-1-17"] += ["d\n"]
    assert list(tail.read()) == ["d"]
    logs.streams["j/algo-2-17"] = ["e"]
    assert list(tail.read()) == ["[algo-2] e"]


def test_an_empty_page_does_not_end_a_stream(logs: Logs) -> None:
    logs.empty, logs.streams = True, {"j/algo-1-17": ["a", "b", "c", "d", "e"]}
    assert list(LogTail(SimpleNamespace(logs=logs), "group", "j/").read()) == [*"abcde"]  # type: ignore[arg-type]


def test_lines_that_come_late_are_waited_for(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    logs.streams = {"j/algo-1-17": ["a"]}
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        logs.streams["j/algo-1-17"].append(f"after {now[0]:.1f} s")

    monkeypatch.setattr(module.time, "sleep", sleep)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    clients: Any = SimpleNamespace(logs=logs, log_lag=3.0)
    lines = list(LogTail(clients, "group", "j/").rest())
    assert lines[0] == "a"
    assert now[0] >= 3.0
    assert lines[-1] == f"after {now[0]:.1f} s"


def test_lines_since_a_moment_are_those_of_the_machines_that_are_new(logs: Logs) -> None:
    clients: Any = SimpleNamespace(logs=logs)
    logs.streams = {"v/old": ["long ago", "a request"], "v/new": ["fails"]}
    logs.created = {"v/old": 100, "v/new": 200}
    assert list(LogTail(clients, "group", "v/", 200).read()) == ["fails"]
    assert logs.since == 200
    assert len(list(LogTail(clients, "group", "v/", 300).read())) == 3  # the same machines went on
    assert logs.since == 300


def test_an_empty_page_does_not_end_the_log() -> None:
    """CloudWatch may answer so before the end, which it tells by the same token."""
    pages = {
        "": ([], "1"), "1": (["a"], "2"), "2": ([], "3"), "3": (["b\nc"], "4"), "4": ([], "4"),
    }  # fmt: skip

    def get_log_events(nextToken: str = "", **_: Any) -> Any:
        lines, token = pages[nextToken]
        return {"events": [{"message": line} for line in lines], "nextForwardToken": token}

    streams = SimpleNamespace(paginate=lambda **_: [{"logStreams": [{"logStreamName": "j/algo-1-17"}]}])
    logs: Any = SimpleNamespace(get_log_events=get_log_events, get_paginator=lambda _: streams)
    assert read_lines(SimpleNamespace(logs=logs), "j") == (["a", "b", "c"], False)


def test_an_empty_page_does_not_hide_the_end_of_the_log() -> None:
    pages: dict[str, tuple[list[str], str]] = {"": ([], "b1"), "b1": ([], "b2"), "b2": (["last"], "b3")}

    def get_log_events(nextToken: str = "", **_: Any) -> Any:
        lines, token = pages[nextToken]
        return {"events": [{"message": line} for line in lines], "nextBackwardToken": token}

    streams = [{"logStreams": [{"logStreamName": "j/algo-1-1"}]}]
    logs: Any = SimpleNamespace(
        get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: streams), get_log_events=get_log_events
    )
    assert read_end(SimpleNamespace(logs=logs), "j", 3) == ["last"]
    pages["b1"] = ([], "b1")  # the beginning of the stream, and nothing was said
    assert read_end(SimpleNamespace(logs=logs), "j", 3) == []


def test_the_end_of_a_trials_log_is_that_of_its_first_host_as_it_ran_last() -> None:
    stop = format_line(StopLine("Overfit", 9))
    lines = ["many"] * 400
    logs: Any = Whole({
        "job/algo-1-100": ["interrupted"], "job/algo-1-200": [*lines, stop], "job/algo-2-300": ["other"],
        "job/algo-10-300": ["other"], "jobless/algo-1-400": ["other"],
    })  # fmt: skip
    assert read_end(SimpleNamespace(logs=logs), "job", 3) == ["many", "many", stop]
    assert logs.asked == ["job/algo-1-200"]
    assert read_end(SimpleNamespace(logs=logs), "none", 3) == []
    nowhere: Any = Whole()
    assert read_end(SimpleNamespace(logs=nowhere), "job", 3) == []
