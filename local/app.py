"""One port for every AWS service that the local SageMaker answers: an ASGI application.

The target, the signature's scope or the path of a request names its service; everything else belongs to S3.
Requests of web pages are refused, because a browser sends them to loopback addresses too.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from importlib.metadata import version
from urllib.parse import parse_qs

from starlette.types import Message, Receive, Scope, Send

from local.api.account import Prices, Quotas, Tagging
from local.api.registry import handlers
from local.cloudwatch import Metrics
from local.config import Config
from local.dispatch import operations
from local.errors import (
    AccessDenied,
    AwsError,
    InvalidParameterException,
    RequestTooLarge,
    UnknownOperationException,
    ValidationException,
)
from local.fakes import SERVICES, Call, Fakes
from local.invoke import Runtime, endpoint_of, too_large
from local.logs import Logs
from local.metricprotocols import MetricService
from local.protocol import Answer, JsonService, error_answer
from local.refusal import refuse
from local.s3.app import S3
from local.seam import EngineLike
from local.store import Store

NAME = "byoc-local"  # in the answer of `GET /health`, so that a client recognises this service
_CONTROL_LIMIT = 4 << 20  # bytes of a request that is not an upload; AWS's own are smaller
_TARGETS = {
    "SageMaker": "sagemaker",
    "Logs_20140328": "logs",
    "AmazonEC2ContainerRegistry_V20150921": "ecr",
    "AWSPriceListService": "pricing",
    "ResourceGroupsTaggingAPI_20170126": "tagging",
    "ServiceQuotasV20190624": "servicequotas",
    "TrentService": "kms",
    "GraniteServiceVersion20100801": "monitoring",
}
_SCOPE = re.compile(r"Credential=[^/]*/\d{8}/(?P<region>[^/]*)/(?P<service>[\w-]+)/aws4_request")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d")
_INTERRUPT = re.compile(r"/_local/training-jobs/(?P<job>[A-Za-z0-9-]{1,63})/interrupt")
_MOST_SECONDS = 86_400
_LOOPBACK = re.compile(r"(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?", re.IGNORECASE)


class App:
    """The application. `hosts`: further values of the Host header (without port) that it accepts."""

    def __init__(
        self,
        config: Config,
        store: Store,
        engine: EngineLike,
        s3: S3,
        *,
        payload_limit: int,
        hosts: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._config = config
        self._payload_limit = payload_limit
        self._hosts = hosts
        self._store = store
        self._engine = engine
        self._json = lru_cache(maxsize=8)(self._services)  # by region
        self._json(config.region)  # now, so that the first request need not wait
        self._runtime = Runtime(config, store, engine)
        self._metrics = MetricService(operations(Metrics(config, store)))
        self.fakes = Fakes(config)
        self._s3 = s3
        # Invocations may take a minute each and must not keep the control plane from answering.
        self._control_threads = ThreadPoolExecutor(8, thread_name_prefix="control")
        self._invoke_threads = ThreadPoolExecutor(64, thread_name_prefix="invoke")

    def _services(self, region: str) -> Mapping[str, JsonService]:
        """The services of the JSON protocol for clients of a region, which is in the ARNs that they get."""
        config = replace(self._config, region=region)
        sagemaker = JsonService("sagemaker", handlers(config, self._store, self._engine))
        return {
            "sagemaker": sagemaker,
            "logs": JsonService("logs", operations(Logs(config)), invalid=InvalidParameterException),
            "pricing": JsonService("pricing", operations(Prices()), invalid=InvalidParameterException),
            "servicequotas": JsonService("service-quotas", operations(Quotas(sagemaker.model))),
            "tagging": JsonService(
                "resourcegroupstaggingapi",
                operations(Tagging(self._store)),
                invalid=InvalidParameterException,
            ),
        }

    async def close(self) -> None:
        self._control_threads.shutdown(wait=False)
        self._invoke_threads.shutdown(wait=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        service = service_of(headers, scope["path"], scope["method"])
        # After an early answer, a client with `Expect: 100-continue` may never send its body. Then the next
        # request on the connection would be read as the body, so the connection is closed. Other clients are
        # sending their body already: to close could destroy the answer.
        waits = "expect" in headers
        if (why := self._forbidden(headers)) is not None:
            await _send(refuse(service, headers, AccessDenied(why)), send, close=waits)
            return
        if (job := interrupted_job(scope["path"])) is not None and scope["method"] == "POST":
            work = partial(self._interrupt, job, scope["query_string"].decode("latin-1"))
            answer = await asyncio.get_running_loop().run_in_executor(self._control_threads, work)
            await _send(answer, send, close=waits)
            return
        if scope["path"] == "/health" and scope["method"] == "GET":
            await _send(self._health(), send, close=waits)
            return
        if service == "s3":
            await self._s3(scope, receive, send)
            return
        limit = self._payload_limit if service == "runtime" else _CONTROL_LIMIT
        try:
            body = await _read(receive, headers, limit)
        except _Disconnected:
            return  # an incomplete request is not executed, and nobody waits for an answer
        if body is None:
            error = RequestTooLarge(f"The request's body is larger than {limit} bytes.")
            answer = too_large(limit) if service == "runtime" else refuse(service, headers, error)
            await _send(answer, send, close=waits)
            return
        threads = self._invoke_threads if service == "runtime" else self._control_threads
        work = partial(self._answer, service, scope, headers, body)
        await _send(await asyncio.get_running_loop().run_in_executor(threads, work), send)

    def _answer(self, service: str, scope: Scope, headers: Mapping[str, str], body: bytes) -> Answer:
        region = region_of(headers) or self._config.region
        json_service = self._json(region).get(service)
        if json_service is not None and "x-amz-target" in headers:
            return json_service.call(headers["x-amz-target"].rpartition(".")[2], body)
        if service == "monitoring":
            return self._metrics.answer(scope["path"], body, headers)
        if service in SERVICES:
            path = scope["path"] + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
            return self.fakes.call(Call(service, scope["method"], path, body, headers, region))
        target = endpoint_of(scope["path"]) if service == "runtime" else None
        if target is not None:
            return self._runtime.invoke(*target, body, headers)
        if service == "runtime":
            text = f"The local SageMaker does not have {scope['method']} {scope['path'][:200]}."
        else:
            text = _unknown(service)
        return refuse(service, headers, UnknownOperationException(text))

    def _forbidden(self, headers: Mapping[str, str]) -> str | None:
        """Why a request is refused, as not from an AWS client on this machine; None if it is accepted."""
        host = headers.get("host", "")
        if not _LOOPBACK.fullmatch(host) and host.partition(":")[0] not in self._hosts():
            # DNS rebinding: the name of a web site that resolves to this machine.
            return f"The host {host[:100]!r} is not this machine: use {self._config.endpoint_url}."
        if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
            return "Web pages may not use the local SageMaker."
        return None

    def _interrupt(self, job: str, query: str) -> Answer:
        """Take the machine of a spot job away. AWS does this too, but has no API operation for it."""
        try:
            parameters = {name: values[-1] for name, values in parse_qs(query).items()}
            self._engine.interrupt(
                job, wait=_seconds(parameters, "wait"), grace=_seconds(parameters, "grace")
            )
        except AwsError as error:
            return error_answer(error)
        return Answer(200, b"{}", {"content-type": "application/json"})

    def _health(self) -> Answer:
        body = {
            "service": NAME,
            "version": version("byoc-sagemaker"),
            "runtime": self._config.runtime,
            "home": str(self._config.home),
            "port": self._config.port,
            "pid": os.getpid(),
        }
        return Answer(200, json.dumps(body).encode(), {"content-type": "application/json"})


def interrupted_job(path: str) -> str | None:
    """The training job that a path asks to interrupt. Its first part is no bucket's name."""
    match = _INTERRUPT.fullmatch(path)
    return match["job"] if match is not None else None


def _seconds(parameters: Mapping[str, str], name: str) -> float | None:
    """A parameter of the request; None where it is not given. ValidationException."""
    if name not in parameters:
        return None
    try:
        seconds = float(parameters[name])
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MOST_SECONDS:
        raise ValidationException(
            f"{name} is {parameters[name][:20]!r}, and must be seconds, from 0 to {_MOST_SECONDS}."
        )
    return seconds


def service_of(headers: Mapping[str, str], path: str, method: str) -> str:
    """The AWS service that a request is for: `sagemaker`, `runtime`, `s3`, `logs`, `sts`, or another's name.

    botocore signs SageMaker and SageMaker Runtime under one name; only the first names a target.
    """
    target = headers.get("x-amz-target", "").partition(".")[0]
    if target:
        return _TARGETS.get(target, target)
    scope = _SCOPE.search(headers.get("authorization", ""))
    if scope is None:
        # Not signed: curl, or a presigned URL.
        unsigned_form = (
            method == "POST" and path == "/" and "form-urlencoded" in headers.get("content-type", "")
        )
        if unsigned_form:
            return "sts"
        return "runtime" if endpoint_of(path) is not None and method == "POST" else "s3"
    return "runtime" if scope["service"] == "sagemaker" else scope["service"]


def region_of(headers: Mapping[str, str]) -> str | None:
    """The region that a request is signed for, or None."""
    scope = _SCOPE.search(headers.get("authorization", ""))
    return scope["region"] if scope is not None and _REGION.fullmatch(scope["region"]) else None


def _unknown(service: str) -> str:
    return (
        f"The local SageMaker does not have the service {service!r}; it has SageMaker, "
        "SageMaker Runtime, S3, CloudWatch, CloudWatch Logs, STS, IAM, ECR, KMS, EC2, Service Quotas, "
        "Pricing and Resource Groups Tagging."
    )


class _Disconnected(Exception):
    """The client disconnected in the middle of its request."""


async def _read(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes | None:
    """The whole body; None if it is larger than `limit`. Raises _Disconnected if the client left."""
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        return None
    blocks: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        block = message.get("body", b"")
        size += len(block)
        if size > limit:
            return None
        blocks.append(block)
        if message["type"] == "http.disconnect":
            raise _Disconnected
        if not message.get("more_body", False):
            return b"".join(blocks)


async def _send(answer: Answer, send: Send, *, close: bool = False) -> None:
    headers = [
        (name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in answer.headers.items()
    ]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
