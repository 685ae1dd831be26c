"""S3's operations as botocore's model has them: how requests are recognised, read, and answered."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape, StructureShape

from local.s3 import xmlbody
from local.s3.errors import S3Error, invalid_argument, malformed_xml, not_implemented

COPY_SOURCE = "x-amz-copy-source"
META = "x-amz-meta-"
# The model lacks the names of answers' root elements; the API Reference has them, under "Response Syntax".
_ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketNotificationConfiguration": "NotificationConfiguration",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetObjectAcl": "AccessControlPolicy",
    "GetObjectAttributes": "GetObjectAttributesResponse",
    "GetObjectTagging": "Tagging",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListParts": "ListPartsResult",
}
_ONLY_TEXT = {"GetBucketLocation": "LocationConstraint"}  # the text of the root itself
# Headers that a presigned address of signature version 2 carries in its query.
SIGNED_HEADERS = ("content-type", "content-md5")
# What belongs to a signature, or names the operation for people who read logs.
_ANYWHERE = {"x-id", "AWSAccessKeyId", "Expires", "Signature", *SIGNED_HEADERS}
_SIGNATURE = "x-amz-"
# Values that S3 ignores ("Canned ACL" in the Amazon S3 User Guide): they are of objects.
_IGNORED = {("CreateBucket", "x-amz-acl"): ("bucket-owner-read", "bucket-owner-full-control")}


class Operation:
    """One operation: its place in requests, its parameters, its answer."""

    def __init__(self, model: OperationModel) -> None:
        self.name: str = model.name
        self.status = int(model.http.get("responseCode", 200))
        self.method: str = model.http["method"]
        path, _, query = model.http["requestUri"].partition("?")
        self.level = path.count("{")
        self.literals = dict(parse_qsl(query, keep_blank_values=True))
        shape = model.input_shape
        self.headers: dict[str, tuple[str, Shape]] = {}
        self.query: dict[str, tuple[str, Shape]] = {}
        self.required_query: set[str] = set()
        self.copies = False
        self.payload: tuple[str, Shape] | None = None
        for name, member in shape.members.items() if shape is not None else ():
            location, key = member.serialization.get("location"), member.serialization.get("name", name)
            required = shape is not None and name in shape.required_members
            if location == "header":
                self.headers[key.lower()] = (name, member)
                self.copies |= required and key == COPY_SOURCE
            elif location == "querystring":
                self.query[key] = (name, member)
                if required:
                    self.required_query.add(key)
            elif shape is not None and name == shape.serialization.get("payload"):
                self.payload = (name, member)
        self.streams_in = self.payload is not None and self.payload[1].type_name == "blob"
        # Elsewhere the same headers are about an object: that of CompleteMultipartUpload, say.
        self.checksums_are_of_the_body = "requestAlgorithmMember" in model.http_checksum
        output = model.output_shape
        self._root = _answer(self.name, output)
        self._answer_headers = {
            name: (member.serialization["name"], member)
            for name, member in (output.members.items() if output is not None else ())
            if "location" in member.serialization
        }

    @property
    def requirements(self) -> int:
        """How special a request for it is."""
        return len(self.literals) + len(self.required_query) + self.copies

    def fits(self, query: Mapping[str, str], *, copies: bool) -> bool:
        """Whether a request of its method and level may be for it."""
        return (
            (copies or not self.copies)
            and self.required_query <= query.keys()
            and all(key in query and query[key] == value for key, value in self.literals.items())
        )

    # --- requests ------------------------------------------------------------------------------------

    def read(self, query: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
        """What headers and query say, by the API's names. S3Error for a value that is not of its kind."""
        members: dict[str, Any] = {}
        metadata: dict[str, str] = {}
        for key, value in headers.items():
            if key in self.headers and value not in _IGNORED.get((self.name, key), ()):
                name, shape = self.headers[key]
                members[name] = _scalar(key, shape, value)
            elif key.startswith(META):
                metadata[key.removeprefix(META)] = value
        for key, value in query.items():
            if key in self.query:
                name, shape = self.query[key]
                if value or shape.type_name == "string":
                    members[name] = _scalar(key, shape, value)
            elif key not in self.literals and key not in _ANYWHERE and not key.lower().startswith(_SIGNATURE):
                raise not_implemented(f"?{key} in {self.name}")
        if metadata:
            members["Metadata"] = metadata
        return members

    def read_body(self, body: bytes) -> Any:
        """The XML of a request, None where it may be missing and is. S3Error."""
        assert self.payload is not None
        name, shape = self.payload
        if not body.strip():
            if self.name == "CreateBucket":
                return None
            raise S3Error(400, "MissingRequestBodyError", "Request Body is empty")
        root = xmlbody.parse(body)
        expected = shape.serialization.get("name", name)
        if root.tag != expected:
            raise malformed_xml(f"its root is {root.tag!r} and not {expected}")
        return xmlbody.read(shape, root)

    # --- answers -------------------------------------------------------------------------------------

    def write(self, members: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        """Headers and body of an answer with these members; a blob is not among them."""
        headers: dict[str, str] = {}
        for name, value in members.items():
            if name in self._answer_headers and value is not None:
                key, shape = self._answer_headers[name]
                if shape.type_name == "map":
                    headers.update({key + each: text for each, text in value.items()})
                else:
                    headers[key] = _header(shape, value)
        if self._root is None:
            return headers, b""
        headers["Content-Type"] = "application/xml"
        root, shape, payload = self._root
        return headers, xmlbody.write(root, shape, members[payload] if payload else members)


def _answer(name: str, output: StructureShape | None) -> tuple[str, Shape, str] | None:
    """Name and shape of the root of an operation's XML, and the member that it is, empty for all of them."""
    if output is None:
        return None
    payload = output.serialization.get("payload", "") or _ONLY_TEXT.get(name, "")
    if payload:
        shape = output.members[payload]
        has_xml = shape.type_name != "blob"
        return (shape.serialization.get("name", payload), shape, payload) if has_xml else None
    if all("location" in shape.serialization for shape in output.members.values()):
        return None
    return _ROOTS.get(name, name), output, ""


class Model:
    """All operations of S3's model. `implemented`: names of those that have a handler."""

    def __init__(self, implemented: Collection[str]) -> None:
        """ValueError if one is no operation of S3."""
        service = ServiceModel(Loader().load_service_model("s3", "service-2"), "s3")
        strange = set(implemented) - set(service.operation_names)
        if strange:
            raise ValueError(f"S3 has no operation {', '.join(sorted(strange))}")
        self._implemented = frozenset(implemented)
        self._places: dict[tuple[str, int], list[Operation]] = {}
        self._named: dict[str, Operation] = {}
        for name in service.operation_names:
            operation = self._named[name] = Operation(service.operation_model(name))
            self._places.setdefault((operation.method, operation.level), []).append(operation)
        for operations in self._places.values():
            # Of several that fit, the most special one; and an old name that stands for the same comes last.
            operations.sort(key=lambda each: (-each.requirements, each.name not in self._implemented))

    def named(self, name: str) -> Operation:
        return self._named[name]

    def route(self, method: str, level: int, query: Mapping[str, str], *, copies: bool) -> Operation:
        """The operation of a request at `level`: 0 the service, 1 a bucket, 2 an object. S3Error."""
        for operation in self._places.get((method, level), ()):
            if operation.fits(query, copies=copies):
                if operation.name not in self._implemented:
                    raise not_implemented(operation.name)
                return operation
        raise S3Error(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
            Method=method,
        )


@lru_cache(maxsize=1)
def model_of(implemented: frozenset[str]) -> Model:
    """The same for every service of this process: reading botocore's file takes longer than all else."""
    return Model(implemented)


def _scalar(key: str, shape: Shape, value: str) -> Any:
    kind = shape.type_name
    if kind in ("integer", "long"):
        if not re.fullmatch(r"[+-]?\d{1,18}", value, re.ASCII):
            raise invalid_argument(
                f"Provided {key} not an integer or within integer range",
                ArgumentName=key,
                ArgumentValue=value[:100],
            )
        return int(value)
    if kind == "boolean":
        return value.lower() == "true"
    if kind == "list":
        return [item.strip() for item in value.split(",") if item.strip()]
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        raise invalid_argument(
            f"Invalid value for {key}: it is one of {', '.join(allowed)}.",
            ArgumentName=key,
            ArgumentValue=value[:100],
        )
    return value


def _header(shape: Shape, value: Any) -> str:
    if shape.type_name == "timestamp" and not isinstance(value, str):
        return formatdate(value, usegmt=True)
    if shape.type_name == "boolean":
        return "true" if value else "false"
    return str(value)


def parse_query(text: bytes) -> dict[str, str]:
    """S3Error for what is not UTF-8, and for a name that is there twice."""
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:
        raise S3Error(400, "InvalidURI", "Couldn't parse the specified URI.") from None
    query = dict(pairs)
    if len(query) != len(pairs):
        raise invalid_argument("A parameter is in the query twice.")
    return query


def parse_path(raw: bytes) -> tuple[str, str]:
    """Bucket and key of a path as it was sent. S3Error."""
    try:
        text = unquote(raw.decode("ascii"), errors="strict")
    except ValueError:
        raise S3Error(400, "InvalidURI", "Couldn't parse the specified URI.") from None
    bucket, _, key = text.removeprefix("/").partition("/")
    return bucket, key
