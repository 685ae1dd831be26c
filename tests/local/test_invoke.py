from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.exceptions
import pytest

from local.errors import ModelError, ServiceUnavailable
from local.seam import InvokeResult

Service = Any  # conftest.Service
Refused = Callable[..., str]


@pytest.fixture
def runtime(service: Service) -> Any:
    """A client; the endpoint `e` is in service."""
    service.store.put("endpoint", "e", {"EndpointName": "e", "EndpointStatus": "InService"})
    return service.client("sagemaker-runtime")


def test_bytes_and_headers_go_there_and_back(service: Service, runtime: Any) -> None:
    seen: dict[str, str] = {}

    def answer(body: bytes, headers: dict[str, str]) -> InvokeResult:
        seen.update(headers)
        told = {
            "content-type": "application/json",
            "x-amzn-sagemaker-custom-attributes": "trace=1",
            "set-cookie": "a=b",
        }
        return InvokeResult(200, told, body[::-1], "blue")

    service.engine.answer = answer
    body = bytes(range(256)) * 8
    response = runtime.invoke_endpoint(
        EndpointName="e",
        Body=body,
        ContentType="image/png",
        Accept="application/json",
        CustomAttributes="trace=1",
        TargetVariant="blue",
    )
    assert response["Body"].read() == body[::-1]
    assert response["ContentType"] == "application/json"
    assert response["InvokedProductionVariant"] == "blue"
    assert response["CustomAttributes"] == "trace=1"
    assert "set-cookie" not in response["ResponseMetadata"]["HTTPHeaders"]
    # Neither credentials nor what belongs to the connection.
    assert seen == {
        "content-type": "image/png",
        "accept": "application/json",
        "x-amzn-sagemaker-custom-attributes": "trace=1",
        "x-amzn-sagemaker-target-variant": "blue",
    }


def test_an_endpoint_that_serves_while_it_is_updated(service: Service, runtime: Any) -> None:
    service.store.update("endpoint", "e", EndpointStatus="Updating")
    assert runtime.invoke_endpoint(EndpointName="e", Body=b"x")["Body"].read() == b"x"


@pytest.mark.parametrize("status", ["Creating", "Failed", "Deleting"])
def test_an_endpoint_that_does_not_serve(
    service: Service, runtime: Any, refused: Refused, status: str
) -> None:
    service.store.update("endpoint", "e", EndpointStatus=status)
    message = refused(runtime.invoke_endpoint, "ValidationError", EndpointName="e", Body=b"x")
    assert message == f"Endpoint e of account 123456789012 not found. It is {status}."
    assert service.engine.calls == []


def test_an_endpoint_that_is_not_there(runtime: Any, refused: Refused) -> None:
    message = refused(runtime.invoke_endpoint, "ValidationError", EndpointName="none", Body=b"x")
    assert message == "Endpoint none of account 123456789012 not found."


def test_a_models_error_tells_what_the_model_said(service: Service, runtime: Any) -> None:
    service.engine.refusal = ModelError(
        "Received client error (415)",
        original_status=415,
        original_message='{"error": "no picture"}',
        log_stream_arn="arn:x",
    )
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        runtime.invoke_endpoint(EndpointName="e", Body=b"x")
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 415
    assert response["OriginalMessage"] == '{"error": "no picture"}'
    assert response["LogStreamArn"] == "arn:x"


@pytest.mark.parametrize(("error", "status"), [(ServiceUnavailable("restarting"), 503)])
def test_what_may_be_tried_again(service: Service, runtime: Any, error: Exception, status: int) -> None:
    service.engine.refusal = error
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        runtime.invoke_endpoint(EndpointName="e", Body=b"x")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["Error"]["Message"] == str(error)


def test_a_body_beyond_the_limit(service: Service, runtime: Any) -> None:
    assert runtime.invoke_endpoint(EndpointName="e", Body=b"x" * 4096)["Body"].read() == b"x" * 4096
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        runtime.invoke_endpoint(EndpointName="e", Body=b"x" * 4097)
    assert caught.value.response["Error"] == {
        "Code": "ValidationError",
        "Message": "HTTP content length exceeded 4096 bytes.",
    }
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert len(service.engine.calls) == 1


def test_what_is_not_offered(runtime: Any, refused: Refused) -> None:
    call = runtime.invoke_endpoint_async
    assert "use InvokeEndpoint" in refused(
        call, "UnknownOperationException", EndpointName="e", InputLocation="s3://b/k"
    )


def test_an_engine_that_breaks(service: Service, runtime: Any, caplog: pytest.LogCaptureFixture) -> None:
    service.engine.refusal = ZeroDivisionError("inner")
    with pytest.raises(botocore.exceptions.ClientError, match="InvokeEndpoint"):
        runtime.invoke_endpoint(EndpointName="e", Body=b"x")
    assert "InvokeEndpoint failed" in caplog.text
