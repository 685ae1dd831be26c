from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

import pytest

from local.errors import InvalidParameterException, ModelError, ResourceInUse
from local.protocol import Answer, Handler, JsonService, error_answer


def service(**handlers: Handler) -> JsonService:
    return JsonService("sagemaker", handlers)


def told(answer: Answer) -> tuple[int, str, str]:
    """Status, code and message."""
    body = json.loads(answer.body)
    assert answer.headers["x-amzn-errortype"] == body["__type"]
    assert answer.headers["x-amzn-requestid"]
    return answer.status, body["__type"], body["message"]


def test_an_operation_gets_what_was_sent_and_answers_what_its_shape_has() -> None:
    asked: list[Mapping[str, Any]] = []

    def describe(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {"ModelName": "m", "CreationTime": 1.23456, "_Live": 1, "Strange": 2, "VpcConfig": None}

    answer = service(DescribeModel=describe).call("DescribeModel", b'{"ModelName": "m", "Strange": null}')
    assert asked == [{"ModelName": "m"}]
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    assert json.loads(answer.body) == {"ModelName": "m", "CreationTime": 1.235}


def test_an_operation_without_an_answer() -> None:
    answer = service(DeleteModel=lambda request: None).call("DeleteModel", b'{"ModelName": "m"}')
    assert (answer.status, answer.body) == (200, b"{}")


def test_an_unknown_operation_is_no_reason_to_retry() -> None:
    some = service(DescribeModel=lambda request: None)
    status, code, message = told(some.call("CreateNotebookInstance", b"{}"))
    assert (status, code) == (400, "UnknownOperationException")
    assert message == "The local SageMaker does not have CreateNotebookInstance; it has DescribeModel."
    assert "no operation 'Dance'" in told(some.call("Dance", b"{}"))[2]


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"null", b"\xff", b"[" * 100_000, b'{"a": NaN}'])
def test_a_body_that_is_no_object(body: bytes) -> None:
    status, code, _ = told(service(DescribeModel=lambda request: None).call("DescribeModel", body))
    assert (status, code) == (400, "SerializationException")


def test_an_empty_body_is_an_empty_request() -> None:
    assert service(ListModels=lambda request: {"Models": []}).call("ListModels", b"").status == 200


def test_each_service_has_its_word_for_bad_input() -> None:
    logs = JsonService("logs", {"GetLogEvents": lambda request: None}, invalid=InvalidParameterException)
    assert told(logs.call("GetLogEvents", b"{}"))[:2] == (400, "InvalidParameterException")


def test_errors_of_handlers(caplog: pytest.LogCaptureFixture) -> None:
    def fail_with(error: Exception) -> tuple[int, str, str]:
        def handler(request: dict[str, Any]) -> None:
            raise error

        return told(service(ListModels=handler).call("ListModels", b"{}"))

    assert fail_with(ResourceInUse("taken")) == (400, "ResourceInUse", "taken")
    # Clients retry a 5xx, and a full disk does not get better by that.
    assert fail_with(OSError(28, "No space left on device"))[:2] == (400, "InsufficientStorage")
    assert fail_with(sqlite3.OperationalError("database or disk is full"))[:2] == (400, "InsufficientStorage")
    assert not caplog.records
    status, code, message = fail_with(ZeroDivisionError("secret"))
    assert (status, code) == (500, "InternalFailure")
    assert "secret" not in message
    assert "ListModels failed" in caplog.text


def test_further_members_of_an_error() -> None:
    error = ModelError("bad", original_status=500, original_message="why")
    answer = error_answer(error, message_key="Message")
    assert answer.status == 424
    body = json.loads(answer.body)
    assert (body["Message"], body["OriginalStatusCode"], body["OriginalMessage"]) == ("bad", 500, "why")


def test_a_handler_for_no_operation() -> None:
    with pytest.raises(ValueError, match="sagemaker has no operation Dance"):
        service(Dance=lambda request: None)


@pytest.mark.parametrize("body", [b'{"ModelName": "\\ud800"}', b'{"ModelName": "\xed\xa0\x80"}'])
def test_half_a_character_is_the_callers_mistake(body: bytes) -> None:
    answer = service(DescribeModel=lambda request: None).call("DescribeModel", body)
    assert told(answer)[:2] == (400, "SerializationException")
