"""One request's body on its way in, one answer on its way out."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping

from starlette.types import Receive, Scope, Send

from local.s3.described import check_header
from local.s3.errors import DECLARATION, S3Error
from local.s3.files import BLOCK


class ClientGone(Exception):
    """The client has left in the middle of its request: nobody waits for an answer."""


class Reader:
    """The body of a request."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        length = self.headers.get("content-length", "")
        self.length = int(length) if length.isdecimal() else None
        # A client that waits for the word to go on may never send it: whatever came next on the connection
        # would be taken for it.
        self.unread = bool(self.length) or "transfer-encoding" in self.headers

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body in blocks of BLOCK bytes or a little more; the last may be smaller."""
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            pieces.append(piece)
            size += len(piece)
            self.unread = message.get("more_body", False)
            if size >= BLOCK or (not self.unread and size):
                yield b"".join(pieces)
                pieces, size = [], 0
            if not self.unread:
                return

    async def wait_until_gone(self) -> None:
        """Returns once the client has left; what comes of the body until then is dropped."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def all(self, limit: int) -> bytes:
        """The whole body. S3Error if it has more than `limit` bytes."""
        body = b""
        async for block in self.blocks():
            body += block
            if len(body) > limit:
                raise S3Error(400, "EntityTooLarge", f"The request's body has more than {limit} bytes.")
        return body


class Answer:
    """One answer; nothing can be said any more once it has been begun."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._head = scope["method"] == "HEAD"
        self._send = send
        self._id = os.urandom(8).hex().upper()
        self._started = False
        self._waiting = False

    async def start(self, status: int, headers: Mapping[str, str], *, close: bool) -> None:
        """S3Error for headers that cannot be sent."""
        for name, value in headers.items():
            check_header(name, value)  # here, where an error can still be sent
        raw = [(name.lower().encode(), _bytes(value)) for name, value in headers.items()]
        raw.append((b"x-amz-request-id", self._id.encode()))
        if close:
            raw.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        self._started = True

    async def block(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def send(self, status: int, headers: Mapping[str, str], body: bytes, *, close: bool) -> None:
        """A whole answer. A HEAD's headers may name the length of what it does not send."""
        if self._waiting:
            await self.block(body.removeprefix(DECLARATION.encode()), more=False)
            return
        if not self._head and status not in (204, 304):
            headers = {**headers, "Content-Length": str(len(body))}
        await self.start(status, headers, close=close)
        await self._send({"type": "http.response.body", "body": b"" if self._head else body})

    async def keep_waiting(self) -> None:
        """Says that an answer in XML will come."""
        if not self._waiting:
            self._waiting = True
            await self.start(200, {"Content-Type": "application/xml"}, close=False)
            await self.block(DECLARATION.encode(), more=True)
        await self.block(b" ", more=True)

    async def error(self, error: S3Error, *, close: bool) -> None:
        if self._started and not self._waiting:
            raise error
        if error.status == 304:
            await self.send(304, error.headers, b"", close=close)
            return
        headers = {"Content-Type": "application/xml", **error.headers}
        await self.send(error.status, headers, error.xml(self._id), close=close)


def _bytes(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()
