"""One production variant of an endpoint: a model in a container that is kept alive."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from local.errors import ModelError, ServiceUnavailable
from local.jobs.artifacts import ArtifactProblem, unpack
from local.jobs.files import copy_data, regular_files, remove_tree
from local.jobs.logfile import LogFile
from local.jobs.services import Services, log
from local.runtime import Container, ContainerSpec, RuntimeProblem
from local.seam import InvokeResult

_PING_TIMEOUT = 2.0
_PING_PAUSE = 0.1  # seconds between pings while a container starts
_PINGS_MISSED = 3
_LONGEST_BACKOFF = 30.0
_MESSAGE_LIMIT = 4096
# What belongs to one connection, and what is set anew.
_NOT_FORWARDED = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "accept-encoding",
    "authorization",
    "x-amz-security-token",
}


class EndpointProblem(Exception):
    """A variant cannot be brought into service; the text is a FailureReason."""


@dataclass(frozen=True)
class VariantSpec:
    """What a variant runs, taken from its endpoint configuration and model when they were deployed."""

    name: str
    image: str
    model_data: str | None
    environment: dict[str, str] = field(default_factory=dict)
    weight: float = 1.0
    startup_seconds: float | None = None


class Variant:
    """Serves one model. `start` blocks until it is healthy; afterwards a thread looks after it."""

    def __init__(self, services: Services, endpoint: str, spec: VariantSpec, folder: Path) -> None:
        self.spec = spec
        self._services = services
        self._endpoint = endpoint
        self._folder = folder
        self._group = f"/aws/sagemaker/Endpoints/{endpoint}"
        self._stream = f"{spec.name}/i-local"
        self._log = LogFile(services.config.log_file(self._group, self._stream))
        self._container: Container | None = None
        self._lock = threading.Lock()
        self._healthy = threading.Event()
        self._stopping = threading.Event()
        self._idle = threading.Condition()
        self._in_flight = 0
        self._drained = False
        self._watcher: threading.Thread | None = None
        self._client = httpx.Client(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(services.timing.invoke_timeout, connect=5),
            # Short, so that a server that drops idle connections is not met in that moment.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=2),
        )

    # --- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Unpacks the model and starts the container; returns once it is healthy. EndpointProblem."""
        try:
            self._services.runtime.check(self.spec.image, "serve")
            self._fetch_model()
            if not self._launch():
                raise EndpointProblem("The endpoint was deleted before it was in service.")
        except RuntimeProblem as problem:
            raise EndpointProblem(str(problem)) from problem
        self._watcher = threading.Thread(target=self._watch, name=f"endpoint {self._endpoint}", daemon=True)
        self._watcher.start()

    def cancel(self) -> None:
        """Makes a running `start` give up, and ends the watching."""
        self._stopping.set()

    def stop(self, grace: float) -> None:
        """Answers what was accepted; then SIGTERM, SIGKILL after `grace` seconds; returns when it is over."""
        self._stopping.set()
        with self._idle:
            self._drained = True
            self._idle.wait_for(lambda: self._in_flight == 0, timeout=grace)
        with self._lock:
            container = self._container
        if container is not None:
            container.terminate()
            if container.wait(grace) is None:
                container.kill()
                container.wait(10)
        if self._watcher is not None:
            self._watcher.join(10)
        self._client.close()
        self._log.close()
        remove_tree(self._folder)

    def _fetch_model(self) -> None:
        base = self._folder / "ml"
        model = base / "model"
        remove_tree(self._folder)
        model.mkdir(parents=True)
        uri = self.spec.model_data
        if uri is None:
            return
        try:
            source = self._services.config.bucket_path(uri)
            if source.is_dir():
                for path in regular_files(source):
                    target = model / path.relative_to(source)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    copy_data(path, target)
            elif source.is_file():
                unpack(source, model)
            else:
                raise EndpointProblem(
                    f"Could not find model data at {uri}. Please ensure that the role has access to it and "
                    "that the object exists."
                )
        except ValueError as error:
            raise EndpointProblem(f"ModelDataUrl {error}") from error
        except ArtifactProblem as problem:
            raise EndpointProblem(f"Failed to extract model data archive {uri}: {problem}.") from problem
        except OSError as error:
            raise EndpointProblem(f"Failed to fetch model data {uri}: {error.strerror or error}.") from error

    def _launch(self) -> bool:
        """Starts a container and waits until it is healthy; False if it is no longer wanted.

        EndpointProblem if it does not become healthy, RuntimeProblem if it cannot be started.
        """
        with self._lock:
            if self._stopping.is_set():
                return False
            container = self._container = self._services.runtime.start(
                ContainerSpec(
                    name=f"{self._endpoint}-{self.spec.name}",
                    image=self.spec.image,
                    command="serve",
                    base=self._folder / "ml",
                    environment={**self._services.aws_environment(), **self.spec.environment},
                    listen=True,
                ),
                self._log.write,
            )
        limit = self.spec.startup_seconds or self._services.timing.startup_check
        deadline = time.monotonic() + limit
        while not self._ping(container):
            if container.wait(_PING_PAUSE) is not None:
                if self._stopping.is_set():
                    return False
                raise EndpointProblem(
                    f"{self._unhealthy()} The container ended with exit code {container.exit_code}. "
                    f"{self._last_lines()}"
                )
            if self._stopping.is_set():
                return False
            if time.monotonic() > deadline:
                container.kill()
                raise EndpointProblem(
                    f"{self._unhealthy()} It was not healthy within {limit:g} seconds "
                    f"(ContainerStartupHealthCheckTimeoutInSeconds). {self._last_lines()}"
                )
        self._healthy.set()
        return True

    def _unhealthy(self) -> str:
        return (
            f"The primary container for production variant {self.spec.name} did not pass the ping health "
            "check. Please check CloudWatch logs for this endpoint."
        )

    def _last_lines(self) -> str:
        lines = self._log.tail(3)
        return f"Last lines of its log: {' | '.join(lines)}" if lines else "Its log is empty."

    def _ping(self, container: Container) -> bool:
        try:
            answer = self._client.get(f"{container.url}/ping", timeout=_PING_TIMEOUT)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    def _watch(self) -> None:
        """Restarts the container when it has died or no longer answers pings."""
        missed = 0
        backoff = 0.5
        while not self._stopping.is_set():
            container = self._container
            assert container is not None
            if container.wait(self._services.timing.ping_interval) is None:
                missed = 0 if self._ping(container) else missed + 1
                if missed < _PINGS_MISSED:
                    continue
                self._say(f"{missed} pings without an answer: the container is restarted")
                container.kill()
                container.wait(10)
            if self._stopping.is_set():
                return
            self._healthy.clear()
            missed = 0
            self._say(f"the container ended with exit code {container.exit_code}; restart in {backoff:g} s")
            if self._stopping.wait(backoff):
                return
            # Jitter, so that several variants do not start in step.
            backoff = min(_LONGEST_BACKOFF, backoff * 2 * random.uniform(0.9, 1.1))
            try:
                if not self._launch():
                    return
            except (EndpointProblem, RuntimeProblem) as problem:
                self._say(str(problem))
            except Exception as error:
                log.exception("endpoint %s", self._endpoint)
                self._say(f"the local SageMaker failed: {error!r}")
                (self._container or container).kill()
            else:
                backoff = 0.5

    def _say(self, text: str) -> None:
        log.warning("endpoint %s, variant %s: %s", self._endpoint, self.spec.name, text)
        self._log.write(f"[local SageMaker] {text}")

    # --- requests ---------------------------------------------------------------------------------

    def invoke(self, body: bytes, headers: dict[str, str]) -> InvokeResult | None:
        """Sends a request to the container; None if it takes no more. ModelError for any answer but 2xx."""
        with self._idle:
            if self._drained:
                return None
            self._in_flight += 1
        try:
            return self._ask(body, headers)
        finally:
            with self._idle:
                self._in_flight -= 1
                self._idle.notify_all()

    def _ask(self, body: bytes, headers: dict[str, str]) -> InvokeResult:
        container = self._container
        if container is None or not self._healthy.is_set():
            raise ServiceUnavailable(
                f"The container of variant {self.spec.name} of endpoint {self._endpoint} is being restarted. "
                "Try again in a few seconds."
            )
        sent = {name: value for name, value in headers.items() if name.lower() not in _NOT_FORWARDED}
        sent["accept-encoding"] = "identity"
        try:
            answer = self._client.post(f"{container.url}/invocations", content=body, headers=sent)
        except httpx.TimeoutException:
            raise self._model_error(
                0,
                "Your invocation timed out while waiting for a response from container primary. Review the "
                "latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again.",
            ) from None
        except httpx.HTTPError as error:
            raise self._model_error(
                0, f"The container closed the connection without an answer ({error})."
            ) from None
        if not answer.is_success:
            raise self._model_error(answer.status_code, answer.text[:_MESSAGE_LIMIT])
        kept = {
            name.lower(): value
            for name, value in answer.headers.items()
            if name.lower() not in _NOT_FORWARDED
        }
        return InvokeResult(answer.status_code, kept, answer.content, self.spec.name)

    def _model_error(self, status: int, message: str) -> ModelError:
        kind = "client" if 400 <= status < 500 else "server"
        config = self._services.config
        return ModelError(
            f'Received {kind} error ({status}) from primary with message "{message}". '
            f"See {self._group} in account {config.account} for more information.",
            original_status=status,
            original_message=message,
            log_stream_arn=config.log_group_arn(self._group),
        )


def variant_spec(variant: dict[str, Any], model: dict[str, Any]) -> VariantSpec:
    """The spec of a ProductionVariant that serves `model` (a DescribeModel document). EndpointProblem."""
    name = variant["VariantName"]
    container = model.get("PrimaryContainer")
    if container is None and len(model.get("Containers", [])) == 1:
        container = model["Containers"][0]
    if container is None:
        raise EndpointProblem(
            f"Model {model['ModelName']} of variant {name} is an inference pipeline; the local SageMaker "
            "serves models of one container."
        )
    if container.get("Mode") == "MultiModel":
        raise EndpointProblem(
            f"Model {model['ModelName']} of variant {name} is a multi-model container, which the local "
            "SageMaker does not serve yet."
        )
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    return VariantSpec(
        name=name,
        image=container["Image"],
        model_data=container.get("ModelDataUrl") or source.get("S3Uri"),
        environment=dict(container.get("Environment", {})),
        weight=float(variant.get("InitialVariantWeight", 1.0)),
        startup_seconds=variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
    )
