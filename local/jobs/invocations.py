"""Batch transform's requests to the container: how many at a time, how large, and again when they fail."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.jobs.client import NoAnswer, TookTooLong
from local.jobs.records import MB, Record, payload
from local.jobs.services import Services
from local.jobs.serving import ModelServer, ServingProblem
from local.runtime.container import Container, exit_text

# Of a request, and of the container's answer to /execution-parameters.
STRATEGIES = {"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}
_DEFAULTS = {"MaxConcurrentTransforms": 1, "MaxPayloadInMB": 6, "BatchStrategy": "MULTI_RECORD"}
_MOST_MB = 100  # that may be on their way together
_PARAMETERS_TIMEOUT = 30.0
_RETRIES = 3  # InvocationsMaxRetries, where a job names none
_LONGEST_PAUSE = 10.0
_RESTARTS = 3  # of a container that ends in the middle of the job
_DYING = 1.0  # seconds that a container may take to end after it has dropped a connection
_MESSAGE_LIMIT = 500

Say = Callable[[str], None]


class Stopped(Exception):
    """The job was stopped."""


class InvocationProblem(Exception):
    """The container did not answer a request as it should; `kind`: ClientError or AlgorithmError."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Limits:
    """`parallel` requests at a time, each of `payload_mb` at most (0: any), of one or `several` records."""

    parallel: int
    payload_mb: int
    several: bool

    @property
    def bytes(self) -> int | None:
        return self.payload_mb * MB or None

    @classmethod
    def of(cls, job: Mapping[str, Any], server: ModelServer, say: Say) -> Limits:
        """What the request says, else the container, else SageMaker's defaults."""
        chosen = {**_DEFAULTS, **_asked(server, say), **_given(job)}
        parallel, payload_mb = chosen["MaxConcurrentTransforms"], chosen["MaxPayloadInMB"]
        if parallel * payload_mb > _MOST_MB:
            parallel = max(1, _MOST_MB // payload_mb)
            say(f"{_MOST_MB} MB at most may be on their way: {parallel} requests at a time")
        strategy = chosen["BatchStrategy"]
        say(f"MaxConcurrentTransforms={parallel}, MaxPayloadInMB={payload_mb}, BatchStrategy={strategy}")
        return cls(parallel, payload_mb, strategy == "MULTI_RECORD")


def _given(job: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {name: job[name] for name in _DEFAULTS if name in job}
    if "BatchStrategy" in chosen:
        chosen["BatchStrategy"] = STRATEGIES[chosen["BatchStrategy"]]
    if not chosen.get("MaxConcurrentTransforms", 1):
        del chosen["MaxConcurrentTransforms"]  # 0 leaves it to the container
    return chosen


def _asked(server: ModelServer, say: Say) -> dict[str, Any]:
    """The container's answer to /execution-parameters, which it need not have."""
    try:
        answer = server.get("/execution-parameters", _PARAMETERS_TIMEOUT)
    except NoAnswer as error:
        say(f"/execution-parameters was not answered ({error!r}); defaults are used")
        return {}
    if not answer.good:
        return {}
    try:
        parameters = json.loads(answer.body)
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        say("/execution-parameters was answered with something else than a JSON object; defaults are used")
        return {}
    chosen = {name: parameters[name] for name in _DEFAULTS if name in parameters}
    for name, value in list(chosen.items()):
        if name == "BatchStrategy":
            good = value in STRATEGIES.values()
        else:
            lowest = 0 if name == "MaxPayloadInMB" else 1
            good = isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= _MOST_MB
        if not good:
            say(f"/execution-parameters: {name} cannot be {json.dumps(value)[:100]}; the default is used")
            del chosen[name]
    return chosen


class Invocations:
    """Sends a job's requests, from many threads."""

    def __init__(
        self,
        services: Services,
        job: Mapping[str, Any],
        server: ModelServer,
        cancelled: threading.Event,
        say: Say,
    ) -> None:
        client, timing = job.get("ModelClientConfig", {}), services.timing
        self._timeout = float(client.get("InvocationsTimeoutInSeconds", timing.transform_timeout))
        self._retries = int(client.get("InvocationsMaxRetries", _RETRIES))
        self._pause = timing.retry_pause
        self._chunked = job.get("MaxPayloadInMB") == 0
        content, accept = job["TransformInput"].get("ContentType"), job["TransformOutput"].get("Accept")
        named = {"content-type": content, "accept": accept}
        self._headers = {name: value for name, value in named.items() if value}
        self._server = server
        self._cancelled = cancelled
        self._say = say
        self._revival = threading.Lock()
        self._restarts = 0

    def ask(self, batch: Sequence[Record]) -> bytes:
        """The answer to one request; what may be the container's weakness is tried again.

        Raises InvocationProblem if there is no good answer, Stopped if the job was stopped meanwhile,
        ServingProblem or RuntimeProblem if the container is gone for good.
        """
        body = payload(batch)
        attempt = 0
        while True:
            try:
                return self._ask(body)
            except InvocationProblem as problem:
                if problem.kind == "ClientError" or attempt == self._retries:
                    raise
            # Jitter, so that requests that failed together do not come together again.
            pause = min(_LONGEST_PAUSE, self._pause * 2**attempt) * random.uniform(0.8, 1.2)
            attempt += 1
            if self._cancelled.wait(pause):
                raise Stopped

    def _ask(self, body: bytes) -> bytes:
        if self._cancelled.is_set():
            raise Stopped
        container = self._server.container
        try:
            answer = self._server.invoke(
                iter([body]) if self._chunked else body, self._headers, self._timeout
            )
        except TookTooLong:
            raise InvocationProblem(f"no answer within {self._timeout:g} seconds", "AlgorithmError") from None
        except NoAnswer as error:
            self._revive(container)
            raise InvocationProblem(
                f"the container closed the connection without an answer ({error})", "AlgorithmError"
            ) from None
        if answer.good:
            return answer.body
        kind = "AlgorithmError" if answer.status >= 500 or answer.status == 429 else "ClientError"
        raise InvocationProblem(f"{answer.status}: {answer.text[:_MESSAGE_LIMIT].strip()}", kind)

    def _revive(self, container: Container | None) -> None:
        """Starts another container if the one that was asked has ended."""
        with self._revival:
            current = self._server.container
            if current is None or current is not container or current.wait(_DYING) is None:
                return
            if self._cancelled.is_set():
                raise Stopped
            if self._restarts == _RESTARTS:
                raise ServingProblem(
                    f"The container has ended {_RESTARTS + 1} times, the last time with "
                    f"{exit_text(current.exit_code)}."
                )
            self._restarts += 1
            self._say(f"the container ended with {exit_text(current.exit_code)}; it is started again")
            if not self._server.launch():
                raise Stopped
