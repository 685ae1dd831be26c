"""SageMaker Runtime: InvokeEndpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from local.config import Config
from local.errors import AwsError, InternalFailure, UnknownOperationException, ValidationError
from local.protocol import Answer, error_answer, log
from local.seam import EngineLike
from local.store import Store

_PATH = re.compile(r"/endpoints/([^/]+)/(invocations|async-invocations|invocations-response-stream)")

# What a container is given of a request's headers: SageMaker's own, and what describes the body.
_PASSED = ("content-type", "accept")
_PASSED_PREFIX = "x-amzn-sagemaker-"


def endpoint_of(path: str) -> tuple[str, str] | None:
    """Name of the endpoint and kind of invocation, if `path` is that of one."""
    match = _PATH.fullmatch(path)
    return (unquote(match[1]), match[2]) if match else None


class Runtime:
    """Takes invocations to the engine and answers as SageMaker Runtime does. Never raises."""

    def __init__(self, config: Config, store: Store, engine: EngineLike) -> None:
        self._config = config
        self._store = store
        self._engine = engine

    def invoke(self, name: str, kind: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """`headers`: the request's, in lower case."""
        try:
            return self._invoke(name, kind, body, headers)
        except AwsError as error:
            return error_answer(error, message_key="Message")
        except Exception as error:
            log.exception("InvokeEndpoint failed")
            text = f"The local SageMaker failed in InvokeEndpoint ({type(error).__name__}); see its own log."
            return error_answer(InternalFailure(text), message_key="Message")

    def _invoke(self, name: str, kind: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if kind != "invocations":
            raise UnknownOperationException(f"The local SageMaker does not have {kind}; use InvokeEndpoint.")
        doc = self._store.get("endpoint", name)
        if doc is None or doc["EndpointStatus"] in ("Creating", "Failed", "Deleting", "OutOfService"):
            status = f" It is {doc['EndpointStatus']}." if doc else ""
            raise ValidationError(f"Endpoint {name} of account {self._config.account} not found.{status}")
        passed = {
            key: value for key, value in headers.items() if key in _PASSED or key.startswith(_PASSED_PREFIX)
        }
        result = self._engine.invoke(name, body, passed)
        answered = {
            key: value
            for key, value in result.headers.items()
            if key == "content-type" or key.startswith(_PASSED_PREFIX)
        }
        answered["x-amzn-invoked-production-variant"] = result.variant
        return Answer(result.status, result.body, answered)


def too_large(limit: int) -> Answer:
    """What AWS answers to a body beyond its limit."""
    error = ValidationError(f"HTTP content length exceeded {limit} bytes.")
    error.status = 413
    return error_answer(error, message_key="Message")
