"""The protocols in which CloudWatch is asked: RPC v2 CBOR, JSON, and the query protocol of older clients.

botocore reads and writes CBOR, as a client that sends what we answer and receives what we are asked.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.utils import parse_timestamp

from local.errors import AwsError, SerializationException, ValidationError
from local.protocol import Answer, Handler, JsonService, internal
from local.refusal import refuse

_CBOR = "smithy-rpc-v2-cbor"
_OPERATION = re.compile(r"/service/\w+/operation/(\w+)")
_MOST_MEMBERS = 1000  # of a list in a form


class MetricService(JsonService):
    """CloudWatch, for clients of any age."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        super().__init__("cloudwatch", handlers, invalid=ValidationError)

    def answer(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer in the protocol that the request is written in; never raises."""
        if "x-amz-target" in headers:
            answer = self.call(headers["x-amz-target"].rpartition(".")[2], body)
            return Answer(answer.status, answer.body, {**answer.headers, **_query_error(answer)})
        cbor = headers.get("smithy-protocol") == "rpc-v2-cbor"
        operation = ""
        try:
            form = {} if cbor else dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True))
            match = _OPERATION.fullmatch(path)
            operation = (match[1] if match else "") if cbor else form.get("Action", "")
            self.check(operation)
            described = self.model.operation_model(operation)
            request = (
                _from_cbor(described.input_shape, body) if cbor else read_form(described.input_shape, form)
            )
            answered = self.run(operation, request)
            if cbor:
                return _cbor_answer(described, answered)
            return _xml_answer(operation, str(self.model.metadata["xmlNamespace"]), described, answered)
        except AwsError as error:
            return _refuse(headers, error)
        except Exception as error:
            return _refuse(headers, internal(error, operation))


def _refuse(headers: Mapping[str, str], error: AwsError) -> Answer:
    answer = refuse("monitoring", headers, error)
    return Answer(error.status, answer.body, {**answer.headers, "x-amzn-query-error": f"{error.code};Sender"})


def _query_error(answer: Answer) -> dict[str, str]:
    """Newer clients read here the code that the query protocol would have had."""
    code = answer.headers.get("x-amzn-errortype")
    return {"x-amzn-query-error": f"{code};Sender"} if code else {}


# --- CBOR ---------------------------------------------------------------------------------------------


def _from_cbor(shape: Shape | None, body: bytes) -> Any:
    if shape is None:
        return {}
    response = {"body": body, "headers": {"smithy-protocol": "rpc-v2-cbor"}, "status_code": 200}
    try:
        parsed = create_parser(_CBOR).parse(response, shape)
    except Exception as error:  # botocore's parser raises whatever a wrong byte leads to
        raise SerializationException("The request's body is not CBOR.") from error
    parsed.pop("ResponseMetadata", None)
    return _plain(parsed)


def _plain(value: Any) -> Any:
    """With times as epoch seconds, as in JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.timestamp() if isinstance(value, datetime) else value


def _cbor_answer(described: Any, answer: Mapping[str, Any]) -> Answer:
    as_request: Any = SimpleNamespace(
        name=described.name,
        service_model=described.service_model,
        input_shape=described.output_shape,
        has_event_stream_input=False,
        has_event_stream_output=False,
        endpoint=None,
    )
    serialized = create_serializer(_CBOR, include_validation=False).serialize_to_request(answer, as_request)
    headers = {
        "content-type": "application/cbor",
        "smithy-protocol": "rpc-v2-cbor",
        "x-amzn-requestid": str(uuid.uuid4()),
    }
    return Answer(200, serialized["body"], headers)


# --- query --------------------------------------------------------------------------------------------


def read_form(shape: Shape | None, form: Mapping[str, str], prefix: str = "") -> Any:
    """A request of the query protocol as JSON would have it; None where the form has nothing of it."""
    if isinstance(shape, StructureShape):
        dot = f"{prefix}." if prefix else ""
        members = {name: read_form(member, form, dot + name) for name, member in shape.members.items()}
        present = {name: value for name, value in members.items() if value is not None}
        return present if present or not prefix else None
    if isinstance(shape, ListShape):
        items: list[Any] = []
        for number in range(1, _MOST_MEMBERS + 1):
            item = read_form(shape.member, form, f"{prefix}.member.{number}")
            if item is None:
                return items or ([] if prefix in form else None)
            items.append(item)
        raise SerializationException(f"{prefix} has more than {_MOST_MEMBERS} members.")
    text = form.get(prefix)
    return None if text is None or shape is None else _scalar(shape.type_name, text, prefix)


def _scalar(kind: str, text: str, where: str) -> Any:
    try:
        if kind in ("integer", "long"):
            return int(text)
        if kind in ("float", "double"):
            return float(text)
        if kind == "timestamp":
            return parse_timestamp(text).timestamp()
    except (ValueError, OverflowError):
        raise SerializationException(f"Value {text[:100]!r} at '{where}' must be a {kind}.") from None
    return text == "true" if kind == "boolean" else text


def _xml_answer(operation: str, namespace: str, described: Any, answer: Mapping[str, Any]) -> Answer:
    text = (
        f'<{operation}Response xmlns="{namespace}"><{operation}Result>'
        f"{_xml(described.output_shape, answer)}</{operation}Result>"
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata></{operation}Response>"
    )
    return Answer(200, text.encode(), {"content-type": "text/xml"})


def _xml(shape: Shape | None, value: Any) -> str:
    if isinstance(shape, StructureShape):
        return "".join(f"<{name}>{_xml(shape.members[name], item)}</{name}>" for name, item in value.items())
    if isinstance(shape, ListShape):
        return "".join(f"<member>{_xml(shape.member, item)}</member>" for item in value)
    if isinstance(shape, MapShape):
        return "".join(
            f"<entry><key>{escape(key)}</key><value>{_xml(shape.value, item)}</value></entry>"
            for key, item in value.items()
        )
    if shape is not None and shape.type_name == "timestamp":
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return escape(str(value).lower() if isinstance(value, bool) else str(value))
