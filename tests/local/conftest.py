"""The whole service on a free port, over an engine that runs nothing; real boto3 talks to it."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import pytest
import uvicorn

from local.app import App
from local.config import Config
from local.errors import AwsError
from local.jobs.documents import enter, fail
from local.s3.app import S3
from local.seam import InvokeResult
from local.store import Document, Store

PAYLOAD_LIMIT = 4096


class FakeEngine:
    """Does what a test tells it; remembers what it was asked for."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.calls: list[tuple[str, str]] = []
        self.refusal: AwsError | None = None
        self.answer: Callable[[bytes, dict[str, str]], InvokeResult] = lambda body, headers: InvokeResult(
            200, {}, body
        )

    def start(self) -> None: ...

    def close(self) -> None: ...

    def _called(self, what: str, name: str) -> None:
        self.calls.append((what, name))
        if self.refusal is not None:
            raise self.refusal

    def submit(self, kind: str, name: str) -> None:
        self._called(f"submit {kind}", name)

    def stop(self, kind: str, name: str) -> None:
        self._called(f"stop {kind}", name)
        if kind == "training-job":
            self.store.mutate(kind, name, lambda doc: enter(doc, "Stopping"))
        else:
            noun = "HyperParameterTuningJob" if kind == "tuning-job" else "TransformJob"
            self.store.update(kind, name, **{f"{noun}Status": "Stopping"})

    def keep_warm(self, name: str, seconds: int) -> None:
        self._called(f"keep_warm {seconds}", name)

    def interrupt(self, name: str, *, wait: float | None = None, grace: float | None = None) -> None:
        self._called(f"interrupt {wait} {grace}", name)

    def update_endpoint(self, name: str) -> None:
        self._called("update_endpoint", name)

    def delete_endpoint(self, name: str) -> None:
        self._called("delete_endpoint", name)
        self.store.delete("endpoint", name)

    def invoke(self, endpoint_name: str, body: bytes, headers: dict[str, str]) -> InvokeResult:
        self._called("invoke", endpoint_name)
        return self.answer(body, headers)

    # --- what a real engine would do by itself ------------------------------------------------------

    def end_training(self, name: str, status: str = "Completed") -> None:
        def change(doc: Document) -> None:
            if status == "Failed":
                fail(doc, "AlgorithmError: out of luck, exit code: 1")
            else:
                enter(doc, status)

        self.store.mutate("training-job", name, change)

    def serve(self, name: str) -> None:
        self.store.update("endpoint", name, EndpointStatus="InService")


class Server:
    """uvicorn in a thread for all tests; `app` is whose turn it is."""

    def __init__(self) -> None:
        self.app: Any = None
        # With the protocol named: asyncio switches Nagle's algorithm off for sockets that name it only.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = uvicorn.Server(
            uvicorn.Config(self._call, interface="asgi3", lifespan="off", log_config=None)
        )
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    async def _call(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._server.serve([self._socket]))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def finish(self, app: App) -> None:
        asyncio.run_coroutine_threadsafe(app.close(), self.loop).result(10)


@dataclass
class Service:
    """The service under test."""

    config: Config
    server: Server
    session: boto3.Session
    store: Store = field(init=False)
    engine: FakeEngine = field(init=False)
    s3: S3 = field(init=False)
    clients: list[Any] = field(default_factory=list)
    patience: float = 10.0
    now: float | None = None  # seconds since 1970, by which addresses expire; None: the machine's clock

    def start(self) -> None:
        self.store = Store(self.config.database)
        self.engine = FakeEngine(self.store)
        self.s3 = S3(self.config, patience=self.patience, clock=lambda: self.now or time.time())
        self.server.app = App(self.config, self.store, self.engine, self.s3, payload_limit=PAYLOAD_LIMIT)

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.clients.clear()
        self.server.finish(self.server.app)
        self.s3.close()
        self.store.close()
        if "moto.moto_api" in sys.modules:
            from moto.moto_api._internal import moto_api_backend

            moto_api_backend.reset()  # as if the process had ended

    def restart(self) -> None:
        self.stop()
        self.start()

    @property
    def url(self) -> str:
        return self.server.url

    def client(self, name: str, **config: Any) -> Any:
        """A boto3 client that tries once, so that an error is not a test of patience."""
        settings = botocore.config.Config(
            **{"retries": {"total_max_attempts": 1}, "read_timeout": 30, "parameter_validation": True}
            | config
        )
        client = self.session.client(name, endpoint_url=self.url, config=settings)
        self.clients.append(client)
        return client

    @property
    def sagemaker(self) -> Any:
        """Without botocore's own checks: what reaches the service is what is tested."""
        return self.client("sagemaker", parameter_validation=False)

    def put(self, uri: str, content: bytes = b"") -> Path:
        path = self.config.bucket_path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    return boto3.Session("local", "local", region_name="us-east-1")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def service(tmp_path: Path, server: Server, session: boto3.Session) -> Iterator[Service]:
    service = Service(Config(home=tmp_path / "a home", port=server.port), server, session)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def image() -> str:
    return "123456789012.dkr.ecr.us-east-1.amazonaws.com/byoc-train:latest"


@pytest.fixture
def training(image: str) -> Callable[..., dict[str, Any]]:
    """A CreateTrainingJob request, with members replaced; None takes one away."""

    def make(name: str = "job", **members: Any) -> dict[str, Any]:
        request = {
            "TrainingJobName": name,
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "RoleArn": "arn:aws:iam::123456789012:role/byoc-sagemaker",
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            **members,
        }
        return {key: value for key, value in request.items() if value is not None}

    return make


@pytest.fixture
def refused() -> Callable[..., str]:
    """Calls an operation that must fail with an error code; the error's message."""

    def call(operation: Callable[..., Any], code: str, /, **request: Any) -> str:
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            operation(**request)
        error = caught.value.response
        assert error["Error"]["Code"] == code, error["Error"]
        assert error["ResponseMetadata"]["RetryAttempts"] == 0
        return str(error["Error"]["Message"])

    return call
