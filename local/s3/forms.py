"""Uploads by forms: "POST Object" and "HTML Form Fields" of the S3 API Reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit
from xml.sax.saxutils import escape

from local.s3 import described
from local.s3.copying import LARGEST
from local.s3.errors import DECLARATION, S3Error, invalid_argument
from local.s3.policy import Policy

_MOST_BEFORE_THE_FILE = 20 << 10  # bytes
_BOUNDARY = re.compile(r"""multipart/form-data\s*;.*?\bboundary=(?:"([^"]{1,70})"|([^\s;",]{1,70}))""", re.I)
_NAME = re.compile(r"""[;\s]name=(?:"([^"]*)"|([^\s;]+))""", re.I)
_FILE_NAME = re.compile(r"""[;\s]filename=(?:"([^"]*)"|([^\s;]+))""", re.I)
_ENCODED_FILE_NAME = re.compile(r"[;\s]filename\*=utf-8''([^\s;]+)", re.I)
_LAST_PART = re.compile(r"[^/\\]*\Z")
# Fields that are an upload's headers; those of x-amz-… are, too.
_HEADERS = (
    "cache-control",
    "content-type",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "expires",
)
_OF_THE_SIGNATURE = (
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-signature",
)

# Headers of other requests: to take them and do nothing would hide a mistake.
_NOT_OF_UPLOADS = ("x-amz-copy-source", "x-amz-expected-bucket-owner")


def is_form(headers: Mapping[str, str]) -> bool:
    """Whether a request's body is a form with files."""
    return headers.get("content-type", "").strip().lower().startswith("multipart/form-data")


class Form:
    """Takes a form apart. `fields` are all there once `has_begun` says that its file has."""

    def __init__(self, content_type: str) -> None:
        """S3Error for a form without a boundary."""
        match = _BOUNDARY.match(content_type.strip())
        if match is None:
            raise _malformed()
        self._delimiter = b"\r\n--" + (match[1] or match[2]).encode()
        self._buffer = b"\r\n"  # so that the first delimiter is like the others
        self._taken = 0  # bytes of the buffer that have been read
        self.fields: dict[str, str] = {}
        self.has_begun = False
        self.has_ended = False

    def feed(self, data: bytes) -> bytes:
        """The bytes of the file in the next piece of the body. S3Error."""
        if self.has_ended:
            return b""  # what comes below the file is ignored
        self._buffer += data
        while not self.has_begun:
            if not self._take_field():
                _check_fields(len(self._buffer))
                return b""
            _check_fields(self._taken)
        if self._taken:
            self._buffer, self._taken = self._buffer[self._taken :], 0
        file, delimiter, _ = self._buffer.partition(self._delimiter)
        if delimiter:
            self.has_ended = True
            self._buffer = b""
            return file
        kept = len(self._delimiter) - 1
        file, self._buffer = self._buffer[:-kept], self._buffer[-kept:]
        return file

    def _take_field(self) -> bool:
        """Takes one part from the buffer; False if it is not all there."""
        start = self._buffer.find(self._delimiter, self._taken)
        if start < 0:
            return False
        head = start + len(self._delimiter)
        if start > self._taken:
            raise _malformed()
        if self._buffer.startswith(b"--", head):
            raise _no_file()
        end = self._buffer.find(b"\r\n\r\n", head)
        if end < 0:
            return False
        disposition = _disposition(self._buffer[head:end])
        name = _group(_NAME, disposition).lower()
        if not name:
            raise _malformed()
        body = end + 4
        if name == "file":
            _check_fields(body)  # before a long file name is put into the fields many times
            self._expand(_file_name(disposition))
            self._taken = body
            self.has_begun = True
            return True
        next_part = self._buffer.find(self._delimiter, body)
        if next_part < 0:
            return False
        self._add(name, _decoded(self._buffer[body:next_part]))
        self._taken = next_part
        return True

    def _add(self, name: str, value: str) -> None:
        self.fields[name] = f"{self.fields[name]},{value}" if name in self.fields else value

    def _expand(self, file_name: str) -> None:
        for name, value in self.fields.items():
            if name not in ("policy", "x-amz-signature", "signature"):
                self.fields[name] = value.replace("${filename}", file_name)

    def check_ended(self) -> None:
        """S3Error if the body has ended before the form."""
        if not self.has_begun:
            raise _no_file()
        if not self.has_ended:
            raise _malformed()


class Upload:
    """The upload that a form asks for, and its answer."""

    status = 204

    def __init__(self, bucket: str, host: str, fields: Mapping[str, str]) -> None:
        """S3Error if the form must not be accepted."""
        # The bucket of the address is a field, too: a policy without it allows nothing.
        self._fields = {**fields, "bucket": bucket}
        self._bucket = bucket
        self.key = _needed(fields, "key")
        self._address = f"http://{host}/{bucket}/{quote(self.key)}"
        if "policy" not in fields:
            # On AWS somebody who is not known, whom no bucket here lets write.
            raise S3Error(403, "AccessDenied", "The form has no policy: sign one, and send it along.")
        if "x-amz-signature" not in fields:
            for name in ("AWSAccessKeyId", "signature"):
                _needed(fields, name)
        for name in fields.keys() & set(_NOT_OF_UPLOADS):
            raise S3Error(
                400, "InvalidArgument", f"The local S3 does nothing for the form's {name}: leave it out."
            )
        self.policy = Policy(fields["policy"])
        self.policy.largest = min(self.policy.largest, LARGEST)
        self.policy.check(self._fields)

    @property
    def headers(self) -> dict[str, str]:
        """What PutObject has as headers. S3Error for what no header can hold."""
        headers = {
            name: value
            for name, value in self._fields.items()
            if name in _HEADERS or (name.startswith("x-amz-") and name not in _OF_THE_SIGNATURE)
        }
        if "acl" in self._fields:
            headers["x-amz-acl"] = self._fields["acl"]
        for name, value in headers.items():
            described.check_header(name, value)
        return headers

    @property
    def tagging(self) -> str:
        """XML; empty if the form has none."""
        return self._fields.get("tagging", "")

    def answer(self, etag: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        headers = {"Location": self._address}
        redirect = self._fields.get("success_action_redirect") or self._fields.get("redirect", "")
        address = self._redirect(redirect, etag)
        if address:
            return 303, {"Location": address}, b""
        wanted = self._fields.get("success_action_status")
        if wanted == "201":
            said = {"Location": self._address, "Bucket": self._bucket, "Key": self.key, "ETag": etag}
            inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in said.items())
            body = f"{DECLARATION}<PostResponse>{inner}</PostResponse>"
            return 201, {**headers, "Content-Type": "application/xml"}, body.encode()
        return 200 if wanted == "200" else 204, headers, b""

    def _redirect(self, wanted: str, etag: str) -> str:
        """Where a client is sent; empty for what is no address, which S3 ignores."""
        if described.has_control_characters(wanted):
            return ""
        try:
            parts = urlsplit(wanted)
        except ValueError:
            return ""
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return ""
        query = [
            *parse_qsl(parts.query, keep_blank_values=True),
            ("bucket", self._bucket),
            ("key", self.key),
            ("etag", etag),
        ]
        return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))


def tags_as_header(tags: Mapping[str, Any]) -> str:
    """A TagSet as x-amz-tagging has it."""
    return urlencode([(tag["Key"], tag["Value"]) for tag in tags["TagSet"]])


def _check_fields(size: int) -> None:
    if size > _MOST_BEFORE_THE_FILE:
        raise S3Error(
            400,
            "MaxPostPreDataLengthExceededError",
            "Your POST request fields preceding the upload file were too large.",
            MaxPostPreDataLength=_MOST_BEFORE_THE_FILE,
        )


def _needed(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name.lower(), "")
    if not value:
        raise invalid_argument(
            f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order "
            "of the fields.",
            ArgumentName=name,
        )
    return value


def _disposition(head: bytes) -> str:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            return _decoded(value)
    raise _malformed()


def _file_name(disposition: str) -> str:
    encoded = _ENCODED_FILE_NAME.search(disposition)
    name = unquote(encoded[1]) if encoded else _group(_FILE_NAME, disposition)
    match = _LAST_PART.search(name)
    return match[0] if match else ""


def _group(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return (match[1] or match[2] or "") if match else ""


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _malformed() from None


def _no_file() -> S3Error:
    return S3Error(
        400, "IncorrectNumberOfFilesInPostRequest", "POST requires exactly one file upload per request."
    )


def _malformed() -> S3Error:
    return S3Error(
        400, "MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data."
    )
