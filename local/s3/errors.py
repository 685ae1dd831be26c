"""S3's errors, by the names of "Error responses" in the Amazon S3 API Reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from local.errors import DISK_FULL, AwsError

# What XML 1.0 cannot hold, not even as a reference: a client would fail to read the error's code.
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


class S3Error(AwsError):
    """An error answer: `members` are further elements of its XML, `headers` go beside it."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(message, **members)
        self.status = status
        self.code = code
        self.headers = headers or {}

    def xml(self, request_id: str) -> bytes:
        """The body of the answer."""
        elements = {"Code": self.code, "Message": self.message, **self.members, "RequestId": request_id}
        inner = "".join(f"<{name}>{_text(str(value))}</{name}>" for name, value in elements.items())
        return f"{DECLARATION}<Error>{inner}</Error>".encode(errors="backslashreplace")


def _text(value: str) -> str:
    readable = _NO_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
    return escape(readable, {"\r": "&#xd;"})


def no_such_bucket(bucket: str) -> S3Error:
    return S3Error(404, "NoSuchBucket", "The specified bucket does not exist", BucketName=bucket)


def no_such_key(key: str) -> S3Error:
    return S3Error(404, "NoSuchKey", "The specified key does not exist.", Key=key)


def no_such_upload(upload: str) -> S3Error:
    return S3Error(
        404,
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been "
        "aborted or completed.",
        UploadId=upload,
    )


def invalid_argument(message: str, **members: Any) -> S3Error:
    return S3Error(400, "InvalidArgument", message, **members)


def invalid_request(message: str) -> S3Error:
    return S3Error(400, "InvalidRequest", message)


def malformed_xml(why: str) -> S3Error:
    return S3Error(
        400,
        "MalformedXML",
        f"The XML you provided was not well-formed or did not validate against our published schema: {why}.",
    )


def precondition_failed(condition: str) -> S3Error:
    return S3Error(
        412,
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        Condition=condition,
    )


def not_implemented(what: str) -> S3Error:
    return S3Error(501, "NotImplemented", f"The local S3 does not implement {what}.")


def disk_full() -> S3Error:
    """507: no status that clients take for worth a retry."""
    return S3Error(507, "InsufficientStorage", DISK_FULL)
