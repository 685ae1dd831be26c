"""A model in a container that serves it: brought up, asked, ended. For endpoints and for transform jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from local.config import region_in
from local.jobs.artifacts import ArtifactProblem, unpack
from local.jobs.client import ContainerAnswer, ContainerClient, NoAnswer
from local.jobs.files import copy_data, regular_files, remove_tree
from local.jobs.logfile import LogFile
from local.jobs.services import Services
from local.runtime.container import Container, ContainerSpec, RuntimeProblem, exit_text

_PING_TIMEOUT = 2.0
_PING_PAUSE = 0.1  # seconds between pings while a container starts
# What belongs to one connection, and what is set anew.
NOT_FORWARDED = frozenset(
    {
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
)


class ServingProblem(Exception):
    """A model cannot be served; the text is a FailureReason."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What is run, taken from a model when it was to be served."""

    image: str
    model_data: str | None
    environment: dict[str, str] = field(default_factory=dict)
    region: str = ""  # empty in documents that an older version stored
    startup_seconds: float | None = None


def model_spec(model: Mapping[str, Any]) -> ModelSpec:
    """The spec of a model (a DescribeModel document).

    ServingProblem for one that is not served here: CreateModel refuses them, but older versions stored them.
    """
    container = model.get("PrimaryContainer")
    if container is None and len(model["Containers"]) > 1:
        raise ServingProblem(
            f"Model {model['ModelName']} is an inference pipeline, and the local SageMaker runs one "
            "container a model: create a model of one container, and an endpoint or a transform job with it."
        )
    container = container or model["Containers"][0]
    if container.get("Mode") == "MultiModel":
        raise ServingProblem(
            f"Model {model['ModelName']} has Mode MultiModel, and the local SageMaker serves one model a "
            "container: create a model for each, and an endpoint or a transform job with it."
        )
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    return ModelSpec(
        image=container["Image"],
        model_data=container.get("ModelDataUrl") or source.get("S3Uri"),
        environment=dict(container.get("Environment", {})),
        region=region_in(model["ModelArn"]),
    )


class ModelServer:
    """One container, which may be launched again when it has ended.

    `name`: of the container. `unhealthy`: the sentence that begins the reason when it does not come up.
    `stopping`: once it is set, nothing is launched any more, and a launch under way gives up.
    """

    def __init__(
        self, services: Services, spec: ModelSpec, folder: Path, log: LogFile, *, name: str, unhealthy: str
    ) -> None:
        self.container: Container | None = None
        self.stopping = threading.Event()
        self._services = services
        self._spec = spec
        self._folder = folder
        self._log = log
        self._name = name
        self._unhealthy = unhealthy
        self._lock = threading.Lock()
        self._client = ContainerClient()

    def prepare(self) -> None:
        """Looks for the image and unpacks the model. ServingProblem."""
        try:
            self._services.runtime.check(self._spec.image, "serve")
        except RuntimeProblem as problem:
            raise ServingProblem(str(problem)) from problem
        model = self._folder / "ml" / "model"
        remove_tree(self._folder)
        model.mkdir(parents=True)
        uri = self._spec.model_data
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
                raise ServingProblem(
                    f"Could not find model data at {uri}. Please ensure that the role has access to it and "
                    "that the object exists."
                )
        except ValueError as error:
            raise ServingProblem(f"ModelDataUrl {error}") from error
        except ArtifactProblem as problem:
            raise ServingProblem(f"Failed to extract model data archive {uri}: {problem}.") from problem
        except OSError as error:
            raise ServingProblem(f"Failed to fetch model data {uri}: {error.strerror or error}.") from error

    def launch(self) -> bool:
        """Starts a container and waits until it is healthy; False if it is no longer wanted.

        ServingProblem if it does not become healthy, RuntimeProblem if it cannot be started.
        """
        aws = self._services.aws_environment(self._spec.region or self._services.config.region)
        with self._lock:
            if self.stopping.is_set():
                return False
            container = self.container = self._services.runtime.start(
                ContainerSpec(
                    name=self._name,
                    image=self._spec.image,
                    command="serve",
                    base=self._folder / "ml",
                    environment={**aws, **self._spec.environment},
                    listen=True,
                ),
                self._log.write,
            )
        limit = self._spec.startup_seconds or self._services.timing.startup_check
        deadline = time.monotonic() + limit
        while not self.ping(container):
            if container.wait(_PING_PAUSE) is not None:
                if self.stopping.is_set():
                    return False
                raise ServingProblem(
                    f"{self._unhealthy} The container ended with {exit_text(container.exit_code)}. "
                    f"{self._last_lines()}"
                )
            if self.stopping.is_set():
                return False
            if time.monotonic() > deadline:
                container.kill()
                raise ServingProblem(
                    f"{self._unhealthy} It was not healthy within {limit:g} seconds "
                    f"(ContainerStartupHealthCheckTimeoutInSeconds). {self._last_lines()}"
                )
        return True

    def _last_lines(self) -> str:
        lines = self._log.tail(3)
        return f"Last lines of its log: {' | '.join(lines)}" if lines else "Its log is empty."

    def ping(self, container: Container) -> bool:
        try:
            return self._client.ask("GET", f"{container.url}/ping", _PING_TIMEOUT).status == HTTPStatus.OK
        except NoAnswer:
            return False

    def get(self, path: str, timeout: float) -> ContainerAnswer:
        """What the container answers to a GET of `path`. NoAnswer if it does not answer."""
        assert self.container is not None
        return self._client.ask("GET", f"{self.container.url}{path}", timeout)

    def invoke(
        self, body: bytes | Iterable[bytes], headers: Mapping[str, str], timeout: float
    ) -> ContainerAnswer:
        """What the container answers to POST /invocations; a body in pieces is sent with chunked encoding.

        `timeout`: seconds. NoAnswer if it does not answer.
        """
        assert self.container is not None
        sent = {name: value for name, value in headers.items() if name.lower() not in NOT_FORWARDED}
        sent["accept-encoding"] = "identity"
        return self._client.ask("POST", f"{self.container.url}/invocations", timeout, body, sent)

    def end(self, grace: float) -> None:
        """SIGTERM, SIGKILL after `grace` seconds; returns when it is over."""
        self.stopping.set()
        with self._lock:
            container = self.container
        if container is not None:
            container.terminate()
            if container.wait(grace) is None:
                container.kill()
                container.wait(10)

    def close(self) -> None:
        """Removes what the container had, once it has ended."""
        self._client.close()
        remove_tree(self._folder)
