"""S3 over HTTP: an ASGI application."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from local.config import Config
from local.dispatch import operations
from local.errors import is_disk_full
from local.s3 import described, forms, model, presigned
from local.s3.bucketops import UNCONFIGURED, BucketOperations
from local.s3.buckets import Buckets
from local.s3.checksums import without_checksums
from local.s3.database import Database
from local.s3.errors import S3Error, disk_full, not_implemented
from local.s3.files import BLOCK, Outgoing, Space
from local.s3.http import Answer, ClientGone, Reader
from local.s3.incoming import Body
from local.s3.listing import Listings
from local.s3.model import Operation, model_of
from local.s3.multipart import Uploads
from local.s3.notes import Notes
from local.s3.objectops import ObjectOperations
from local.s3.objects import Objects
from local.s3.requests import Handler, Receiving, Reply, Request
from local.s3.uploadops import UploadOperations

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 16
_LARGEST_XML = 8 << 20  # bytes; the list of 10,000 parts with checksums has 3 million
# Copying takes its time, and clients give up after a minute without a byte: as on AWS, the answer is begun
# with white space then (after `patience` seconds), and says 200 even if there is an error in it.
_SLOW = ("CompleteMultipartUpload", "CopyObject", "UploadPartCopy")
_OWNERS = ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner")
_NOT_HOISTED = ("x-amz-content-sha256", "x-amz-checksum-crc", "x-amz-checksum-sha", "x-amz-sdk-checksum")


class S3:
    """Serves the buckets of one home folder."""

    def __init__(
        self, config: Config, *, patience: float = 10.0, clock: Callable[[], float] = time.time
    ) -> None:
        """OSError or sqlite3.Error if the home folder cannot be used."""
        self._account, self._patience, self._clock = config.account, patience, clock
        owner = {"ID": hashlib.sha256(config.account.encode()).hexdigest()}
        self._database = Database(config.home / "s3.db")
        buckets, notes = Buckets(config.s3_root, self._database), Notes(self._database)
        objects = Objects(buckets, notes)
        folder = config.home / "s3-incoming"
        space, uploads = Space(folder / "bodies"), Uploads(folder / "parts", self._database)
        of_buckets = BucketOperations(
            buckets, objects, uploads, Listings(buckets, notes, owner), owner, config.region
        )
        self._handlers: Mapping[str, Handler] = {
            **{name: partial(of_buckets.unconfigured, name) for name in UNCONFIGURED},
            **operations(
                of_buckets,
                ObjectOperations(buckets, objects, space, owner),
                UploadOperations(buckets, objects, uploads, space, owner),
            ),
        }
        self._model = model_of(frozenset(self._handlers))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3")

    @property
    def operations(self) -> list[str]:
        """The names of all that it has."""
        return sorted(self._handlers)

    def close(self) -> None:
        """Waits for what is being done, and closes the database."""
        self._threads.shutdown()
        self._database.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reader = Reader(scope, receive)
        answer = Answer(scope, send)
        try:
            bucket, key = model.parse_path(scope.get("raw_path") or quote(scope["path"]).encode())
            query = model.parse_query(scope["query_string"])
            presigned.check(query, self._clock())
            if scope["method"] == "POST" and bucket and not key and forms.is_form(reader.headers):
                status, headers, body = await self._receive_form(bucket, query, reader)
                await answer.send(status, headers, body, close=reader.unread)
                return
            operation, reply, block = await self._reply(scope["method"], bucket, key, query, reader, answer)
            try:
                headers, body = operation.write(reply.members)
                status = reply.status or operation.status
                if reply.outgoing is None:
                    await answer.send(status, headers, body, close=reader.unread)
                else:
                    await answer.start(status, headers, close=reader.unread)
                    await answer.block(block, more=reply.outgoing.size > 0)
                    if reply.outgoing.size:
                        await self._send_rest(reply.outgoing, answer, reader)
            finally:
                if reply.outgoing is not None:
                    reply.outgoing.close()
        except ClientGone:
            pass
        except EOFError:
            # Nothing but the end of the connection can say so now.
            log.warning("%s has been cut off while it was read", scope["path"])
        except Exception as error:
            s3_error = error if isinstance(error, S3Error) else _internal(error, scope)
            await answer.error(s3_error, close=reader.unread)

    async def _send_rest(self, outgoing: Outgoing, answer: Answer, reader: Reader) -> None:
        """Sends what is left of an object. ClientGone once the client has left."""
        # Sending to a client that has left raises no error; only `receive` reports it.
        gone = asyncio.ensure_future(reader.wait_until_gone())
        try:
            while outgoing.size:
                if gone.done():
                    raise ClientGone
                block = await self._in_thread(outgoing.read)
                await answer.block(block, more=outgoing.size > 0)
        finally:
            gone.cancel()

    async def _reply(
        self, method: str, bucket: str, key: str, query: Mapping[str, str], reader: Reader, answer: Answer
    ) -> tuple[Operation, Reply, bytes]:
        """What is to be answered, and the first block where it is an object's bytes. S3Error."""
        headers = {**_hoisted(query), **reader.headers}
        for name in _OWNERS:
            if headers.get(name, self._account) != self._account:
                text = f"The bucket belongs to {self._account}, and not to {headers[name]}."
                raise S3Error(403, "AccessDenied", text)
        operation = self._model.route(
            method,
            (2 if key else 1) if bucket else 0,
            query,
            copies=model.COPY_SOURCE in headers,
        )
        members = {**operation.read(query, headers), "Bucket": bucket, "Key": key}
        handler = self._handlers[operation.name]
        if operation.streams_in:
            described.check(members)
            return operation, await self._receive(handler, Request(members, headers), reader), b""
        if operation.payload is not None:
            sent = await reader.all(_LARGEST_XML)
            members[operation.payload[0]] = await self._in_thread(_read_xml, operation, headers, sent)
        described.check(members)
        work = self._in_thread(_with_block, handler, Request(members, headers))
        while operation.name in _SLOW and not (await asyncio.wait([work], timeout=self._patience))[0]:
            await answer.keep_waiting()
        reply, block = await work
        return operation, reply, block

    async def _receive(self, handler: Handler, request: Request, reader: Reader) -> Reply:
        """Has a body written. A large one is refused, if it is to be, before it has been sent."""
        if reader.length is not None and reader.length <= BLOCK:
            return await self._in_thread(_at_once, handler, request, await reader.all(BLOCK))
        receiving = await self._in_thread(handler, request)
        assert isinstance(receiving, Receiving)
        writing: asyncio.Future[None] | None = None
        try:
            async for block in reader.blocks():
                if writing is not None:
                    await writing
                # Goes on while the next block comes in.
                writing = self._in_thread(receiving.incoming.feed, block)
            if writing is not None:
                await writing
            return await self._in_thread(_finish, receiving)
        finally:
            if writing is not None:
                await asyncio.wait([writing])
            await self._in_thread(receiving.incoming.discard)

    async def _receive_form(
        self, bucket: str, query: Mapping[str, str], reader: Reader
    ) -> tuple[int, dict[str, str], bytes]:
        """Puts the file of a form; status, headers and body of the answer. S3Error."""
        if query:
            raise not_implemented(f"?{next(iter(query))} in PostObject")
        form, blocks, payload = forms.Form(reader.headers["content-type"]), reader.blocks(), b""
        async for block in blocks:
            payload = form.feed(block)
            if form.has_begun:
                break
        else:
            form.check_ended()
        upload = forms.Upload(bucket, reader.headers.get("host", ""), form.fields)
        headers = upload.headers
        if upload.tagging:
            tags = self._model.named("PutObjectTagging").read_body(upload.tagging.encode())
            headers["x-amz-tagging"] = forms.tags_as_header(tags)
        operation = self._model.named("PutObject")
        members = {**operation.read({}, headers), "Bucket": bucket, "Key": upload.key}
        described.check(members)
        receiving = await self._in_thread(self._handlers["PutObject"], Request(members, headers))
        assert isinstance(receiving, Receiving)
        size = 0
        try:
            while True:
                size += len(payload)
                upload.policy.check_size(size, complete=form.has_ended)
                if payload:
                    await self._in_thread(receiving.incoming.feed, payload)
                try:
                    payload = form.feed(await anext(blocks))
                except StopAsyncIteration:
                    break
            form.check_ended()
            reply = await self._in_thread(_finish, receiving)
        finally:
            await self._in_thread(receiving.incoming.discard)
        status, said, body = upload.answer(reply.members["ETag"])
        return status, {**operation.write(reply.members)[0], **said}, body

    def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))


def _read_xml(operation: Operation, headers: Mapping[str, str], sent: bytes) -> Any:
    """What a body that was received as `sent` says. S3Error."""
    blocks: list[bytes] = []
    body = Body(headers if operation.checksums_are_of_the_body else without_checksums(headers), blocks.append)
    body.feed(sent)
    body.finish()
    return operation.read_body(b"".join(blocks))


def _with_block(handler: Handler, request: Request) -> tuple[Reply, bytes]:
    """The reply, and the first block of what it sends."""
    reply = handler(request)
    assert isinstance(reply, Reply)
    if reply.outgoing is None:
        return reply, b""
    try:
        return reply, reply.outgoing.read()
    except BaseException:
        reply.outgoing.close()
        raise


def _at_once(handler: Handler, request: Request, body: bytes) -> Reply:
    receiving = handler(request)
    assert isinstance(receiving, Receiving)
    try:
        receiving.incoming.feed(body)
        return _finish(receiving)
    finally:
        receiving.incoming.discard()


def _finish(receiving: Receiving) -> Reply:
    return receiving.done(receiving.incoming.finish())


def _hoisted(query: Mapping[str, str]) -> dict[str, str]:
    """Headers that a presigned address carries in its query.

    AWS ignores checksums there; some SDKs put that of an empty body into every address. S3Error for what no
    header can hold: an answer could not repeat it.
    """
    hoisted = {
        name.lower(): value
        for name, value in query.items()
        if (name.lower().startswith("x-amz-") and not name.lower().startswith(_NOT_HOISTED))
        or name in model.SIGNED_HEADERS
    }
    for name, value in hoisted.items():
        described.check_header(name, value)
    return hoisted


def _internal(error: Exception, scope: Scope) -> S3Error:
    """What a client may know about an error that nobody foresaw."""
    if is_disk_full(error):
        return disk_full()
    log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
    return S3Error(
        500,
        "InternalError",
        f"The local S3 failed ({type(error).__name__}); the service's own log has the details.",
    )
