from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from local.app import service_of
from local.errors import ValidationException

Service = Any  # conftest.Service
Refused = Callable[..., str]

LIMIT = 4 << 20


def ask(
    service: Service, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", service.server.port, timeout=10)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def signed(scope: str) -> dict[str, str]:
    return {
        "authorization": f"AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/{scope}/aws4_request, X=y"
    }


@pytest.mark.parametrize(
    ("headers", "path", "method", "expected"),
    [
        ({"x-amz-target": "SageMaker.CreateModel"}, "/", "POST", "sagemaker"),
        ({"x-amz-target": "Logs_20140328.GetLogEvents"}, "/", "POST", "logs"),
        ({"x-amz-target": "AmazonEC2ContainerRegistry_V20150921.X"}, "/", "POST", "ecr"),
        ({"x-amz-target": "DynamoDB_20120810.ListTables"}, "/", "POST", "DynamoDB_20120810"),
        (signed("sagemaker"), "/endpoints/e/invocations", "POST", "runtime"),
        (signed("s3"), "/endpoints/e/invocations", "PUT", "s3"),
        (signed("sts"), "/", "POST", "sts"),
        (signed("iam"), "/", "POST", "iam"),
        ({}, "/endpoints/e/invocations", "POST", "runtime"),
        ({}, "/endpoints/e/invocations", "GET", "s3"),
        ({}, "/bucket/key", "GET", "s3"),
        ({"content-type": "application/x-www-form-urlencoded"}, "/", "POST", "sts"),
    ],
)
def test_whose_request_it_is(headers: dict[str, str], path: str, method: str, expected: str) -> None:
    assert service_of(headers, path, method) == expected


def test_health(service: Service) -> None:
    status, body = ask(service, "GET", "/health")
    told = json.loads(body)
    assert status == 200
    assert (told["service"], told["port"], told["runtime"]) == ("byoc-local", service.server.port, "process")
    assert told["home"] == str(service.config.home)


def test_a_spot_job_is_interrupted(service: Service) -> None:
    path = "/_local/training-jobs/job-1/interrupt"
    assert ask(service, "POST", f"{path}?wait=2.5&grace=0")[0] == 200
    assert ask(service, "POST", path)[0] == 200
    assert service.engine.calls == [("interrupt 2.5 0.0", "job-1"), ("interrupt None None", "job-1")]
    for wrong in ("wait=-1", "grace=nan", "wait=long"):
        status, body = ask(service, "POST", f"{path}?{wrong}")
        assert status == 400
        assert "and must be seconds, from 0 to 86400" in json.loads(body)["message"]
    service.engine.refusal = ValidationException("The training job job-1 has just ended.")
    assert ask(service, "POST", path)[0] == 400
    assert ask(service, "POST", path, headers={"Origin": "https://site"})[0] == 403


def test_a_service_that_is_not_here(service: Service, refused: Refused) -> None:
    message = refused(service.client("dynamodb").list_tables, "UnknownOperationException")
    assert "does not have the service 'DynamoDB_20120810'; it has SageMaker" in message
    message = refused(service.client("lambda").list_functions, "UnknownOperationException")
    assert "does not have the service 'lambda'" in message
    message = refused(service.client("route53").list_hosted_zones, "InvalidAction")
    assert "does not have the service 'route53'" in message
    message = refused(service.client("eventbridgev2").list_event_buses, "UnknownOperationException")
    assert "does not have the service 'events'" in message


def test_an_operation_that_is_not_here(service: Service, refused: Refused) -> None:
    sagemaker = service.client("sagemaker")
    message = refused(sagemaker.list_notebook_instances, "UnknownOperationException")
    assert message.startswith("The local SageMaker does not have ListNotebookInstances; it has AddTags, ")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://example.com"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "localhost.evil.example:80"},
    ],
)
@pytest.mark.parametrize("path", ["/health", "/bucket", "/endpoints/e/invocations"])
def test_web_pages_and_rebound_names_are_kept_out(
    service: Service, headers: dict[str, str], path: str
) -> None:
    status, body = ask(service, "POST" if "endpoints" in path else "GET", path, headers=headers)
    assert status == 403
    assert b"AccessDeniedException" in body
    assert service.engine.calls == []


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1", "127.1.2.3:99", "[::1]:5757"])
def test_this_machines_names(service: Service, host: str) -> None:
    assert ask(service, "GET", "/health", headers={"host": host})[0] == 200


def test_a_huge_control_request_is_not_read(service: Service) -> None:
    headers = {"x-amz-target": "SageMaker.ListModels", "content-length": str(LIMIT + 1)}
    status, body = ask(service, "POST", "/", b"", headers)
    assert status == 413
    assert json.loads(body)["__type"] == "RequestEntityTooLargeException"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"x-amz-target: SageMaker.ListModels\r\nhost: 127.0.0.1\r\ncontent-length: 5000000", b"413"),
        (b"x-amz-target: SageMaker.ListModels\r\nhost: evil.example\r\ncontent-length: 10", b"403"),
    ],
)
def test_a_client_that_waits_to_send_its_body_is_refused_for_good(
    service: Service, headers: bytes, status: bytes
) -> None:
    """What it sent next would be taken for the body."""
    with socket.create_connection(("127.0.0.1", service.server.port), timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nexpect: 100-continue\r\n" + headers + b"\r\n\r\n")
        answer = b""
        while block := connection.recv(65536):
            answer += block
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in answer.lower()


def test_not_even_in_pieces(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.server.port, timeout=10)
    pieces = (b"x" * (1 << 20) for _ in range(5))
    headers = {"x-amz-target": "SageMaker.ListModels", "transfer-encoding": "chunked"}
    connection.request("POST", "/", pieces, headers, encode_chunked=True)
    answer = connection.getresponse()
    answer.read()  # and closes the connection, as the service does
    assert answer.status == 413
    connection.close()


def test_a_request_that_breaks_off_is_not_carried_out(service: Service) -> None:
    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    sent: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"", "more_body": True},
        {"type": "http.disconnect"},
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/endpoints/e/invocations",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
    }
    asyncio.run_coroutine_threadsafe(service.server.app(scope, receive, send), service.server.loop).result(10)
    assert (sent, service.engine.calls) == ([], [])
