"""S3 requests, handed on to the S3 server and streamed both ways.

Beside carrying bytes, it keeps the server's view of the folders true. Jobs write their results as plain
files into the folders that are buckets; the server remembers what a folder held. So the answer is compared
with the disk, and where they differ the server is told to forget the folder and asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

import httpx
from starlette.types import Receive, Scope, Send

from local.config import Config
from local.errors import DISK_FULL
from local.protocol import Answer
from local.s3 import S3Server, restart

# Headers that belong to one connection, and those that no server behind the proxy may see or set.
_REQUEST_DROPPED = {
    b"authorization",
    b"connection",
    b"expect",
    b"host",
    b"keep-alive",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
_ANSWER_DROPPED = {b"connection", b"date", b"keep-alive", b"server", b"transfer-encoding", b"upgrade"}
# rclone lets every web page read everything, and no page has any business here. The others repeat what the
# upload said, which is untrue of a part of the object, and once a job has written another file in its place.
_ANSWER_DROPPED_PREFIXES = (b"access-control-", b"x-amz-checksum-", b"x-amz-content-", b"x-amz-sdk-")

# What a request may ask for beside the bucket or object itself. rclone answers everything else as if it were
# not there (a GET of ?tagging with a listing, say), which no client would understand.
_KNOWN = {
    "continuation-token", "delete", "delimiter", "encoding-type", "fetch-owner", "key-marker", "list-type",
    "location", "marker", "max-keys", "max-parts", "max-uploads", "part-number-marker", "partNumber",
    "prefix", "start-after", "uploadId", "upload-id-marker", "uploads", "x-id", "versioning",
    "AWSAccessKeyId", "Expires", "Signature",
}  # fmt: skip

_ATTEMPTS = 5
_LONGEST_PART = 255  # bytes of a file's name
_SHORT = 1 << 20  # bytes of an answer that is read before it is passed on

_SPARE = 16 << 20  # bytes that stay free on the disk for the service itself


@dataclass(frozen=True)
class Target:
    """What an S3 request is about."""

    bucket: str
    key: str
    query: dict[str, str]

    @property
    def listing(self) -> bool:
        """Whether a GET of it lists a bucket."""
        return (
            bool(self.bucket)
            and not self.key
            and not self.query.keys() & {"location", "versioning", "uploads"}
        )


class S3Proxy:
    """An ASGI application in front of one S3 server."""

    def __init__(self, config: Config, server: S3Server) -> None:
        self._root = config.s3_root
        self._home = config.home
        self._server = server
        self._data = self._control = httpx.AsyncHTTPTransport()
        self._connected = ""
        # Buckets that the server knows of: one that a job made would be unknown to it.
        self._buckets: set[str] = set()
        self._learning = asyncio.Lock()

    async def close(self) -> None:
        await self._data.aclose()
        await self._control.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
        query: bytes = scope["query_string"]
        bucket, _, key = unquote(raw_path.decode("latin-1")).lstrip("/").partition("/")
        target = Target(bucket, key, dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)))
        method = scope["method"]
        problem = self._problem(method, target, scope)
        if problem is not None:
            # Its body is not read, and a client that waited to be told to go on never sends it: whatever
            # came next on the connection would be taken for it.
            headers = {**problem.headers, "connection": "close"} if _has_body(scope) else problem.headers
            await _answer(Answer(problem.status, problem.body, headers), send)
            return
        request = httpx.Request(
            method,
            httpx.URL("http://s3", raw_path=raw_path + (b"?" + query if query else b"")),
            headers=[(b"host", b"s3"), *_kept(scope["headers"], _REQUEST_DROPPED)],
            content=_body(receive) if _has_body(scope) else None,
        )
        await self._connect()
        await self._prepare(method, target, request)
        try:
            response, body = await self._fetch(method, target, request, once=_has_body(scope))
        except httpx.RemoteProtocolError:
            await _answer(xml_error(503, "SlowDown", "The object changes while it is read: try again."), send)
            return
        if response.status_code >= 500 and method in ("PUT", "POST") and self._free() < _SPARE:
            await response.aclose()
            await _answer(full(), send)
            return
        await _stream(response, body, send)

    async def _fetch(
        self, method: str, target: Target, request: httpx.Request, *, once: bool
    ) -> tuple[httpx.Response, bytes | None]:
        """The server's answer, asked for until it agrees with the disk, and its body where that is short."""
        attempt = 0
        while True:
            attempt += 1
            response = await self._ask(request)
            again = not once and attempt < _ATTEMPTS
            if again and await asyncio.to_thread(self._stale, method, target, request, response):
                await response.aclose()
            elif method != "GET" or not _is_short(response):
                return response, None
            else:
                try:
                    body = b"".join([block async for block in response.aiter_raw()])
                except httpx.RemoteProtocolError:
                    # A job has put another file in its place since it was opened.
                    if not again:
                        raise
                else:
                    return response, mended(body, target, response)
            await self._forget(target)

    # --- what is refused before anything is read ---------------------------------------------------

    def _problem(self, method: str, target: Target, scope: Scope) -> Answer | None:
        strange = [
            name
            for name in target.query
            if name not in _KNOWN and not name.lower().startswith(("x-amz-", "response-"))
        ]
        if strange:
            return xml_error(501, "NotImplemented", f"The local S3 does not implement ?{strange[0]}.")
        if method in ("PUT", "POST"):
            length = dict(scope["headers"]).get(b"content-length", b"0")
            if int(length if length.isdigit() else 0) > self._free() - _SPARE:
                return full()
        if {".", ".."} & set(target.key.split("/")) or target.bucket in (".", ".."):
            text = (
                "A key cannot have '.' or '..' as a component in the local S3, where keys are paths of files."
            )
            return xml_error(400, "InvalidArgument", text)
        if method in ("PUT", "POST") and target.key:
            return self._unfit(method, target, dict(scope["headers"]))
        return None

    def _unfit(self, method: str, target: Target, headers: dict[bytes, bytes]) -> Answer | None:
        """What is wrong with an object that is to be written."""
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in target.key):
            return xml_error(400, "InvalidArgument", "A key cannot have control characters in the local S3.")
        if any(len(os.fsencode(part)) > _LONGEST_PART for part in target.key.split("/")):
            text = f"A key's components have at most {_LONGEST_PART} bytes each in the local S3."
            return xml_error(400, "InvalidArgument", text)
        path = self._path(target)
        if path is None:
            return None
        bucket = self._root / target.bucket
        above = [folder for folder in path.parents if folder.is_relative_to(bucket)]
        if any(folder.is_file() for folder in above) or (path.is_dir() and not target.key.endswith("/")):
            text = "In the local S3, keys are paths: none can be an object and a folder of objects at once."
            return xml_error(400, "InvalidArgument", text)
        condition = headers.get(b"if-none-match")
        if b"if-match" in headers or condition not in (None, b"*"):
            text = "Of conditional writes, the local S3 has If-None-Match: * only."
            return xml_error(501, "NotImplemented", text)
        if condition is not None and path.exists():
            text = "At least one of the pre-conditions you specified did not hold"
            return xml_error(412, "PreconditionFailed", text)
        return None

    def _free(self) -> int:
        return shutil.disk_usage(self._home).free

    # --- the server's memory ---------------------------------------------------------------------------

    async def _prepare(self, method: str, target: Target, request: httpx.Request) -> None:
        """Lets the server forget what may be out of date before a request that cannot be sent twice."""
        first_page = not target.query.keys() & {"continuation-token", "marker", "start-after"}
        if not target.bucket or (target.listing and method == "GET" and first_page):
            await self._forget(target)
        elif method == "POST" and "delete" in target.query:
            await self._forget(Target(target.bucket, "", {}))
        elif "x-amz-copy-source" in request.headers:
            source, _, key = unquote(request.headers["x-amz-copy-source"]).lstrip("/").partition("/")
            await self._forget(Target(source, key, {}))
        elif target.key and target.bucket not in self._buckets and _is_folder(self._root / target.bucket):
            # Once, and before any upload: what is forgotten during one is never true again in the server.
            async with self._learning:
                if target.bucket not in self._buckets:
                    await self._forget(Target("", "", {}))
                    self._buckets.add(target.bucket)
        elif method == "DELETE" and not target.key:
            self._buckets.discard(target.bucket)
            await self._forget(target)

    def _stale(self, method: str, target: Target, request: httpx.Request, response: httpx.Response) -> bool:
        """Whether the answer contradicts the disk."""
        try:
            path = self._path(target)
            status = path.stat() if path is not None else None
        except (OSError, ValueError):
            status = None
        found = response.status_code != 404
        if not target.key:
            return target.bucket != "" and method in ("GET", "HEAD") and found != (status is not None)
        is_file = status is not None and path is not None and path.is_file()
        if method == "DELETE":
            return is_file and response.status_code < 300
        if method not in ("GET", "HEAD") or "uploadId" in target.query:
            return False
        if found != is_file:
            return response.status_code < 400 or response.status_code >= 500 or not found
        if not is_file or status is None or response.status_code not in (200, 206):
            return False
        return _size(response) != status.st_size or _modified(response) != int(status.st_mtime)

    def _path(self, target: Target) -> Path | None:
        if not target.bucket or target.bucket.startswith("."):
            return None
        return self._root / target.bucket / target.key

    async def _forget(self, target: Target) -> None:
        """Makes the server read the bucket's folders anew, each when it is next asked for.

        It forgets nothing above a folder into which something was uploaded while it last forgot, and never
        again will: so the folders on the way to the target are read at once.
        """
        known = target.bucket in self._buckets
        await self._tell("vfs/forget", target.bucket if known else "")
        folder = self._root / target.bucket
        for name in ("", *(target.key or target.query.get("prefix", "")).split("/")[:-1]):
            folder /= name
            if not target.bucket or name in (".", "..") or not _is_folder(folder):
                return
            await self._tell("vfs/refresh", folder.relative_to(self._root).as_posix())

    async def _tell(self, command: str, folder: str) -> None:
        request = httpx.Request("POST", f"http://rc/{command}", json={"dir": folder})
        with contextlib.suppress(httpx.HTTPError):
            response = await self._control.handle_async_request(request)
            await response.aread()
            await response.aclose()

    # --- the connection ----------------------------------------------------------------------------

    async def _connect(self) -> None:
        if self._connected == self._server.data and self._server.alive:
            return
        if not self._server.alive:
            await asyncio.to_thread(restart, self._server)
        await self.close()
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=60)
        self._data = httpx.AsyncHTTPTransport(uds=self._server.data, limits=limits)
        self._control = httpx.AsyncHTTPTransport(uds=self._server.control)
        self._connected = self._server.data
        self._buckets.clear()

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        # An hour, for an upload may be long and slow, and rclone itself gives up then.
        request.extensions = {"timeout": {"connect": 10.0, "read": 3600.0, "write": 3600.0, "pool": 60.0}}
        return await self._data.handle_async_request(request)


# --- bytes ---------------------------------------------------------------------------------------------


def _kept(headers: list[tuple[bytes, bytes]], dropped: set[bytes]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionAbortedError("the client went away")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            return


async def _stream(response: httpx.Response, body: bytes | None, send: Send) -> None:
    """Passes an answer on; `body` if it has been read already."""
    dropped = _ANSWER_DROPPED if body is None else {*_ANSWER_DROPPED, b"content-length"}
    headers = [
        (name, value)
        for name, value in _kept(response.headers.raw, dropped)
        if not name.lower().startswith(_ANSWER_DROPPED_PREFIXES)
    ]
    if body is not None:
        headers.append((b"content-length", str(len(body)).encode()))
    try:
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        if body is None:
            async for block in response.aiter_raw():
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": body or b""})
    finally:
        await response.aclose()


def _is_short(response: httpx.Response) -> bool:
    size = response.headers.get("content-length", "")
    return size.isdigit() and int(size) <= _SHORT


def mended(body: bytes, target: Target, response: httpx.Response) -> bytes:
    """An XML answer of rclone's with what clients expect beside: an empty list's count, a message."""
    if target.listing and target.query.get("list-type") == "2" and b"<KeyCount>" not in body:
        return body.replace(b"</ListBucketResult>", b"<KeyCount>0</KeyCount></ListBucketResult>")
    if response.status_code == 404 and b"<Message>" not in body:
        return body.replace(b"</Error>", b"<Message>The specified key does not exist.</Message></Error>")
    return body


async def _answer(answer: Answer, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _is_folder(path: Path) -> bool:
    with contextlib.suppress(OSError):  # a name that is longer than a file's can be
        return path.is_dir()
    return False


def _size(response: httpx.Response) -> int:
    """The whole object's size, as the answer has it."""
    _, slash, total = response.headers.get("content-range", "").partition("/")
    text = total if slash else response.headers.get("content-length", "")
    return int(text) if text.isdigit() else -1


def _modified(response: httpx.Response) -> int:
    with contextlib.suppress(KeyError, ValueError):
        return int(parsedate_to_datetime(response.headers["last-modified"]).timestamp())
    return -1


def xml_error(status: int, code: str, message: str) -> Answer:
    """An error as S3 writes it."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    )
    return Answer(status, body.encode(), {"content-type": "application/xml"})


def full() -> Answer:
    """507: no status that clients take for worth a retry."""
    return xml_error(507, "InsufficientStorage", DISK_FULL)
