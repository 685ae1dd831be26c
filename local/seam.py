"""Where the two halves of this room meet: the control plane and the engine that runs jobs.

The control plane validates a request, puts the job's first document into the store and calls the engine;
the engine changes that document as the job goes on. `local.jobs.engine.Engine` is the real engine, the tests
of the control plane bring a small one of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class InvokeResult:
    """What a model container answered: 2xx `status`, lower-case `headers`, `body`, production `variant`."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    variant: str = "AllTraffic"


class EngineLike(Protocol):
    """Runs what the store's documents describe. Every method is called from a worker thread.

    Only `invoke` may take long; the others start or signal and return. Names are those of documents that
    are in the store. Errors for the caller are those of `local.errors`.
    """

    def start(self) -> None:
        """Once, before the first request: fails orphaned jobs, brings endpoints back or marks them Failed."""

    def submit(self, kind: str, name: str) -> None:
        """Runs a job or an endpoint whose document is in the store: `kind` is the store's."""

    def stop(self, kind: str, name: str) -> None:
        """Asks a job to stop; the document says Stopping when this returns, unless the job is over."""

    def keep_warm(self, name: str, seconds: int) -> None:
        """How long the warm pool that a training job has left stays; 0 ends it. ValidationException."""

    def interrupt(self, name: str, *, wait: float | None = None, grace: float | None = None) -> None:
        """Takes the machine of a spot training job away for `wait` seconds; SIGKILL after `grace`."""

    def update_endpoint(self, name: str) -> None:
        """Moves a document in status Updating to the configuration that its `PendingDeploymentSummary` names.

        Success: the engine moves the name into EndpointConfigName, ProductionVariants follow it. Failure:
        the old configuration serves on, FailureReason says why.
        """

    def delete_endpoint(self, name: str) -> None:
        """Stops the endpoint's processes, then removes its document from the store."""

    def invoke(self, endpoint_name: str, body: bytes, headers: dict[str, str]) -> InvokeResult:
        """Sends `body` to the endpoint's container. `headers`: lower-case names, as a container gets them."""
        ...

    def close(self) -> None:
        """Stops everything that runs; returns when no process is left."""
