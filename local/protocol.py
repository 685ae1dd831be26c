"""AWS's JSON protocol (1.1), served from botocore's own description of a service.

A handler takes the checked request as a dict and returns the answer as a dict; everything else (which
operations exist, what they take, how times are written, what an error looks like) comes from the model.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel

from local import shapes
from local.errors import (
    DISK_FULL,
    AwsError,
    InsufficientStorage,
    InternalFailure,
    SerializationException,
    UnknownOperationException,
    ValidationException,
    is_disk_full,
)

Handler = Callable[[dict[str, Any]], Mapping[str, Any] | None]

log = logging.getLogger(__name__)

_LOADER = Loader()  # keeps what it has read


@cache
def service_model(service: str) -> ServiceModel:
    """botocore's description of a service, by botocore's name."""
    return ServiceModel(_LOADER.load_service_model(service, "service-2"), service)


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class JsonService:
    """One AWS service of the JSON protocol: `handlers` by operation name over botocore's model of it."""

    def __init__(
        self,
        service: str,
        handlers: Mapping[str, Handler],
        *,
        invalid: type[AwsError] = ValidationException,
    ) -> None:
        """`service`: botocore's name; `invalid`: what the service calls a request that its shapes refuse.

        ValueError if a handler is for no operation of that service.
        """
        self.model = service_model(service)
        strange = set(handlers) - set(self.model.operation_names)
        if strange:
            raise ValueError(f"{service} has no operation {', '.join(sorted(strange))}")
        self._handlers = handlers
        self._invalid = invalid

    def call(self, operation: str, body: bytes) -> Answer:
        """Runs one operation; never raises."""
        try:
            self.check(operation)
            return Answer(200, dump(self.run(operation, _parse(body))), _headers())
        except AwsError as error:
            return error_answer(error)
        except Exception as error:
            return error_answer(internal(error, operation))

    def check(self, operation: str) -> None:
        """UnknownOperationException unless the service has the operation here."""
        if operation not in self._handlers:
            exists = operation in self.model.operation_names
            raise UnknownOperationException(
                f"The local SageMaker does not have {operation}; it has {', '.join(sorted(self._handlers))}."
                if exists
                else f"{self.model.service_name} has no operation {operation!r}."
            )

    def run(self, operation: str, raw: Any) -> Mapping[str, Any]:
        """The answer to a request in JSON's types; any error that a handler raises."""
        described = self.model.operation_model(operation)
        try:
            request = shapes.read(described.input_shape, raw)
        except ValidationException as error:
            raise self._invalid(error.message) from None
        answer = self._handlers[operation](request) or {}
        if described.output_shape is None:
            return {}
        shaped: Mapping[str, Any] = shapes.write(described.output_shape, answer)
        return shaped


def error_answer(error: AwsError, *, message_key: str = "message") -> Answer:
    """`error` as botocore parses it, for the JSON and the REST-JSON protocol."""
    body = {"__type": error.code, message_key: error.message, **error.members}
    return Answer(error.status, dump(body), {**_headers(), "x-amzn-errortype": error.code})


def dump(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _headers() -> dict[str, str]:
    return {"content-type": "application/x-amz-json-1.1", "x-amzn-requestid": str(uuid.uuid4())}


def _refuse_constant(name: str) -> None:
    """NaN and the infinities, which Python's reader takes and JSON does not have."""
    raise ValueError(f"{name} is not a JSON number")


def _parse(body: bytes) -> Any:
    if not body:
        return {}
    try:
        parsed = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SerializationException(f"The request's body is not JSON: {error}.") from None
    if not isinstance(parsed, dict):
        raise SerializationException("The request's body must be a JSON object.")
    try:
        dump(parsed)
    except UnicodeEncodeError:
        raise SerializationException("The request's body has half a character (a lone surrogate).") from None
    return parsed


def internal(error: Exception, operation: str) -> AwsError:
    """What a client may know about an error that no handler foresaw."""
    if is_disk_full(error):
        return InsufficientStorage(DISK_FULL)
    log.error("%s failed", operation, exc_info=error)
    return InternalFailure(
        f"The local SageMaker failed in {operation} ({type(error).__name__}); its own log has the details."
    )
