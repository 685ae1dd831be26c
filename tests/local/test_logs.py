from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from local.jobs.logfile import LogFile

Service = Any  # conftest.Service
Refused = Callable[..., str]

TRAINING = "/aws/sagemaker/TrainingJobs"
T = 1_700_000_000_000  # epoch ms
STREAM = "job/algo-1-17"
ASK = {"logGroupName": TRAINING, "logStreamName": STREAM}


def write(service: Service, stream: str, lines: list[tuple[int, str]], group: str = TRAINING) -> None:
    path = service.config.log_file(group, stream)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="\n") as file:
        file.writelines(f"{T + time} {text}\n" for time, text in lines)


def texts(answer: dict[str, Any]) -> list[str]:
    return [event["message"] for event in answer["events"]]


@pytest.fixture
def logs(service: Service) -> Any:
    """A client; the stream has the events `line 0` to `line 99`, two each in a millisecond."""
    write(service, STREAM, [(number // 2, f"line {number}") for number in range(100)])
    return service.client("logs")


# --- what is there -----------------------------------------------------------------------------------


def test_nothing_is_there_at_first(service: Service, refused: Refused) -> None:
    logs = service.client("logs")
    assert logs.describe_log_groups()["logGroups"] == []
    message = refused(logs.get_log_events, "ResourceNotFoundException", **ASK)
    assert message == f"The specified log group does not exist: {TRAINING}."
    refused(logs.describe_log_streams, "ResourceNotFoundException", logGroupName=TRAINING)


def test_groups(service: Service) -> None:
    for group in (TRAINING, "/aws/sagemaker/Endpoints/e-1", "/aws/sagemaker/Endpoints/e-2"):
        write(service, "s/x", [(5, "hello")], group)
    logs = service.client("logs")
    groups = logs.describe_log_groups()["logGroups"]
    assert [group["logGroupName"] for group in groups] == [
        "/aws/sagemaker/Endpoints/e-1",
        "/aws/sagemaker/Endpoints/e-2",
        TRAINING,
    ]
    assert groups[-1]["creationTime"] == T + 5
    assert groups[-1]["arn"] == f"arn:aws:logs:us-east-1:123456789012:log-group:{TRAINING}:*"
    pages = logs.get_paginator("describe_log_groups").paginate(
        logGroupNamePrefix="/aws/sagemaker/End", PaginationConfig={"PageSize": 1}
    )
    assert [len(page["logGroups"]) for page in pages] == [1, 1]
    assert len(logs.describe_log_groups(logGroupNamePattern="training")["logGroups"]) == 1


def test_streams(service: Service, refused: Refused) -> None:
    for number, stream in enumerate(("job-b/algo-1-1", "job-a/algo-2-1", "job-a/algo-1-1")):
        write(service, stream, [(number, "x"), (number + 10, "y")])
    logs = service.client("logs")

    def names(**asked: Any) -> list[str]:
        found = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=TRAINING, PaginationConfig={"PageSize": 2}, **asked
        )
        return [stream["logStreamName"] for page in found for stream in page["logStreams"]]

    assert names() == ["job-a/algo-1-1", "job-a/algo-2-1", "job-b/algo-1-1"]
    assert names(logStreamNamePrefix="job-a/") == ["job-a/algo-1-1", "job-a/algo-2-1"]
    assert names(orderBy="LastEventTime", descending=True)[0] == "job-a/algo-1-1"
    [first] = logs.describe_log_streams(logGroupName=TRAINING, logStreamNamePrefix="job-b")["logStreams"]
    assert (first["firstEventTimestamp"], first["lastEventTimestamp"]) == (T, T + 10)
    both = {"logStreamNamePrefix": "job", "orderBy": "LastEventTime", "logGroupName": TRAINING}
    refused(logs.describe_log_streams, "InvalidParameterException", **both)


# --- GetLogEvents -------------------------------------------------------------------------------------


def test_the_newest_events_come_by_default(logs: Any) -> None:
    assert texts(logs.get_log_events(**ASK, limit=3)) == ["line 97", "line 98", "line 99"]
    assert len(texts(logs.get_log_events(**ASK))) == 100


def test_pages_forward_to_the_end_and_on(logs: Any, service: Service) -> None:
    ask = {**ASK, "startFromHead": True, "limit": 40}
    found, token = [], None
    while True:
        answer = logs.get_log_events(**ask, **({"nextToken": token} if token else {}))
        found += texts(answer)
        # As on AWS: the end is where the token stays the same.
        if answer["nextForwardToken"] == token:
            break
        token = answer["nextForwardToken"]
    assert found == [f"line {number}" for number in range(100)]
    write(service, STREAM, [(60, "new")])
    answer = logs.get_log_events(**ask, nextToken=token)
    assert texts(answer) == ["new"]
    assert texts(logs.get_log_events(**ask, nextToken=answer["nextForwardToken"])) == []


def test_pages_backward(logs: Any) -> None:
    first = logs.get_log_events(**ASK, limit=40)
    second = logs.get_log_events(**ASK, limit=40, nextToken=first["nextBackwardToken"])
    third = logs.get_log_events(**ASK, limit=40, nextToken=second["nextBackwardToken"])
    assert texts(third) + texts(second) + texts(first) == [f"line {number}" for number in range(100)]
    assert texts(logs.get_log_events(**ASK, nextToken=third["nextBackwardToken"])) == []
    again = logs.get_log_events(**ASK, limit=40, nextToken=third["nextForwardToken"])
    assert texts(again) == texts(second)


def test_times_are_half_open(logs: Any) -> None:
    between = {"startTime": T + 10, "endTime": T + 12}
    for head in (True, False):
        answer = logs.get_log_events(**ASK, **between, startFromHead=head)
        assert texts(answer) == ["line 20", "line 21", "line 22", "line 23"]
    assert answer["events"][0]["timestamp"] == T + 10


def test_a_line_is_read_when_it_is_complete(service: Service) -> None:
    write(service, STREAM, [(0, "whole")])
    logs = service.client("logs")
    with service.config.log_file(TRAINING, STREAM).open("a") as file:
        file.write(f"{T} ha")
        file.flush()
        answer = logs.get_log_events(**ASK, startFromHead=True)
        assert texts(answer) == ["whole"]
        assert texts(logs.get_log_events(**ASK)) == ["whole"]
        file.write("lf\n")
    assert texts(logs.get_log_events(**ASK, nextToken=answer["nextForwardToken"])) == ["half"]


def test_odd_texts(service: Service) -> None:
    odd = ["", "  two  spaces ", "émoji 😀", "a\rb", "12 34", "x" * 200_000]
    write(service, STREAM, [(0, text) for text in odd])
    logs = service.client("logs")
    assert texts(logs.get_log_events(**ASK)) == odd
    assert texts(logs.get_log_events(**ASK, startFromHead=True)) == odd


def test_a_page_has_a_megabyte_at_most(service: Service) -> None:
    write(service, STREAM, [(number, str(number) + "x" * 300_000) for number in range(8)])
    logs = service.client("logs")
    assert [text[0] for text in texts(logs.get_log_events(**ASK, startFromHead=True))] == ["0", "1", "2"]
    assert [text[0] for text in texts(logs.get_log_events(**ASK))] == ["5", "6", "7"]


@pytest.mark.parametrize("token", ["x", "f/1", f"f/{10**9:056d}/s", "b/x/s", "f/" + "9" * 56 + "/s"])
def test_a_token_that_is_none(logs: Any, refused: Refused, token: str) -> None:
    refused(logs.get_log_events, "InvalidParameterException", **ASK, nextToken=token)


def test_a_stream_that_is_not_there(logs: Any, refused: Refused) -> None:
    ask = {"logGroupName": TRAINING, "logStreamName": "../../x"}
    refused(logs.get_log_events, "ResourceNotFoundException", **ask)


def test_a_group_by_its_arn(logs: Any) -> None:
    arn = f"arn:aws:logs:us-east-1:123456789012:log-group:{TRAINING}"
    assert texts(logs.get_log_events(logGroupIdentifier=arn, logStreamName=STREAM, limit=1)) == ["line 99"]


def test_a_running_jobs_log_is_followed(service: Service) -> None:
    output = LogFile(service.config.log_file(TRAINING, STREAM))
    logs = service.client("logs")
    token, found = None, []
    for text in ("one", "two\nthree", "four"):
        output.write(text)
        answer = logs.get_log_events(**ASK, startFromHead=True, **({"nextToken": token} if token else {}))
        token = answer["nextForwardToken"]
        found.append(texts(answer))
    output.close()
    assert found == [["one"], ["two", "three"], ["four"]]


# --- FilterLogEvents ------------------------------------------------------------------------------------


def test_many_streams_are_interleaved_by_time(service: Service) -> None:
    for stream in ("job/algo-1-1", "job/algo-2-1", "other/algo-1-1"):
        write(service, stream, [(number, f"{stream[:10]} {number}") for number in range(50)])
    logs = service.client("logs")
    pages = list(
        logs.get_paginator("filter_log_events").paginate(
            logGroupName=TRAINING, logStreamNamePrefix="job/", PaginationConfig={"PageSize": 30}
        )
    )
    assert [len(page["events"]) for page in pages] == [30, 30, 30, 10]
    events = [event for page in pages for event in page["events"]]
    assert [event["timestamp"] for event in events] == [T + number // 2 for number in range(100)]
    assert len({event["eventId"] for event in events}) == 100
    assert events[0]["logStreamName"] == "job/algo-1-1"
    some = logs.filter_log_events(
        logGroupName=TRAINING, logStreamNames=["other/algo-1-1"], startTime=T + 3, endTime=T + 5
    )
    assert texts(some) == ["other/algo 3", "other/algo 4"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["loss=1 ok", "loss=2 ERROR bad", "two words"]),
        ("loss", ["loss=1 ok", "loss=2 ERROR bad"]),
        ("loss ERROR", ["loss=2 ERROR bad"]),
        ('"two words"', ["two words"]),
        ("loss -ERROR", ["loss=1 ok"]),
        ("?ok ?two", ["loss=1 ok", "two words"]),
        (r"%loss=\d E%", ["loss=2 ERROR bad"]),
        ("error", []),
    ],
)
def test_filter_patterns(service: Service, pattern: str, expected: list[str]) -> None:
    write(service, STREAM, [(0, "loss=1 ok"), (1, "loss=2 ERROR bad"), (2, "two words")])
    answer = service.client("logs").filter_log_events(logGroupName=TRAINING, filterPattern=pattern)
    assert texts(answer) == expected


@pytest.mark.parametrize("pattern", ['{ $.a = "b" }', "[a, b]", "%(%", "%(a+)+b%"])
def test_patterns_that_are_not_understood(logs: Any, refused: Refused, pattern: str) -> None:
    ask = {"logGroupName": TRAINING, "filterPattern": pattern}
    assert "Invalid filter pattern" in refused(logs.filter_log_events, "InvalidParameterException", **ask)


@pytest.mark.parametrize("token", ["x", "e30", "W10=", "eyJhIjogIngifQ=="])
def test_a_filter_token_that_is_none(logs: Any, refused: Refused, token: str) -> None:
    ask = {"logGroupName": TRAINING, "nextToken": token}
    refused(logs.filter_log_events, "InvalidParameterException", **ask)


def test_only_reading_is_offered(logs: Any, refused: Refused) -> None:
    refused(logs.create_log_group, "UnknownOperationException", logGroupName="x")


# --- deleting ----------------------------------------------------------------------------------------


def test_a_stream_is_deleted_and_no_other(service: Service, logs: Any, refused: Refused) -> None:
    write(service, "job-2/algo-1-17", [(1, "stays")])
    logs.delete_log_stream(**ASK)
    left = logs.describe_log_streams(logGroupName=TRAINING)["logStreams"]
    assert [stream["logStreamName"] for stream in left] == ["job-2/algo-1-17"]
    assert refused(logs.delete_log_stream, "ResourceNotFoundException", **ASK) == (
        "The specified log stream does not exist."
    )


def test_a_group_is_deleted_with_its_streams(service: Service, logs: Any, refused: Refused) -> None:
    ours, theirs = "/aws/sagemaker/Endpoints/e", "/aws/sagemaker/Endpoints/e2"
    for group in (ours, theirs):
        write(service, "AllTraffic/1", [(1, "hello")], group)
    logs.delete_log_group(logGroupName=ours)
    groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
    assert groups == [theirs, TRAINING]
    refused(logs.delete_log_group, "ResourceNotFoundException", logGroupName=ours)
