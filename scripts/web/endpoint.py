"""An endpoint: what it runs on, what it serves, and its answer to a picture."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from contract.errors import NOT_FOUND, ByocError
from contract.names import ENDPOINT_LOGS
from report.pages import live as pages
from report.read import aws
from report.read.logs import LogTail
from report.words import seconds_between
from scripts.predict import parse_answer
from scripts.web.values import dump

if TYPE_CHECKING:
    from scripts.aws import Clients
    from scripts.web.actions import Activity
    from scripts.web.session import Session

LARGEST: Final = 6_291_456
"""Bytes of a picture: SageMaker's limit for a request."""
_SECONDS: Final = 1.0
_LINES: Final = 400


@dataclass(frozen=True)
class Endpoint:
    """A described endpoint and the configuration that it runs."""

    name: str
    status: str
    config: str
    model: str
    machine: str
    count: int
    created: datetime | None
    changed: datetime | None
    reason: str

    @property
    def seconds(self) -> float | None:
        """Since it was created: what is billed, about."""
        return seconds_between(self.created, datetime.now(UTC))


def described(clients: Clients, name: str) -> Endpoint | None:
    """The endpoint; None where there is none."""
    answer = aws.find(lambda: clients.sagemaker.describe_endpoint(EndpointName=name))
    if answer is None:
        return None
    config = answer["EndpointConfigName"]
    settings = aws.find(lambda: clients.sagemaker.describe_endpoint_config(EndpointConfigName=config)) or {}
    variant: Any = next(iter(settings.get("ProductionVariants", [])), {})
    return Endpoint(
        name=name,
        status=str(answer["EndpointStatus"]),
        config=config,
        model=str(variant.get("ModelName", "")),
        machine=str(variant.get("InstanceType", "")),
        count=int(variant.get("InitialInstanceCount", 1)),
        created=answer.get("CreationTime"),
        changed=answer.get("LastModifiedTime"),
        reason=str(answer.get("FailureReason") or ""),
    )


def job_of_model(clients: Clients, model: str) -> str:
    """The training job whose artifact a model serves, by the artifact's address; "" where it is not one's."""
    from scripts.endpoints import find_model

    container = (find_model(clients, model) or {}).get("PrimaryContainer", {})
    parts = str(container.get("ModelDataUrl", "")).split("/")
    return parts[-3] if len(parts) > 3 and parts[-2:] == ["output", "model.tar.gz"] else ""


class EndpointSource:
    """The endpoint's state and its log."""

    ended = False

    def __init__(self, session: Session, name: str, activity: Callable[[str], Activity | None]) -> None:
        self.name, self._activity = name, activity
        self._session = session
        self._lock = threading.Lock()
        self._looked = -1e9
        self._documents: dict[str, str] = {}
        self._jobs: dict[str, str] = {}
        self._tail: LogTail | None = None
        self._lines: list[str] = []
        self._count = 0

    def look(self) -> None:
        with self._lock:
            if time.monotonic() - self._looked < _SECONDS:
                return
            self._looked = time.monotonic()
            clients = self._session.clients
            endpoint = described(clients, self.name)
            if endpoint is None:
                gone = {"name": self.name, "status": "Deleted", "runs": False}
                self._documents = {"endpoint": dump(gone), **self._changes()}
                return
            if endpoint.model and endpoint.model not in self._jobs:
                self._jobs[endpoint.model] = job_of_model(clients, endpoint.model)
            each = self._session.hourly(endpoint.machine, "Hosting") if endpoint.machine else None
            document = {
                "name": endpoint.name,
                "status": endpoint.status,
                "runs": pages.is_running("endpoint", endpoint.status),
                "model": endpoint.model,
                "job": self._jobs.get(endpoint.model, ""),
                "machine": endpoint.machine,
                "count": endpoint.count,
                "created": pages.iso(endpoint.created),
                "changed": pages.iso(endpoint.changed),
                "reason": endpoint.reason,
                "hourly": None if each is None else each * endpoint.count,
                "cost": pages.cost(endpoint.seconds, endpoint.count, each),
            }
            self._documents = {"endpoint": dump(document), **self._changes()}
            self._read_log()

    def _changes(self) -> dict[str, str]:
        activity = self._activity(f"endpoint/{self.name}")
        return {"activity": dump(activity.as_dict())} if activity else {}

    def _read_log(self) -> None:
        if self._tail is None:
            self._tail = LogTail(self._session.clients, f"{ENDPOINT_LOGS}/{self.name}", "")
        for line in self._tail.read():
            self._lines.append(line)
            self._count += 1
        del self._lines[:-_LINES]

    def documents(self) -> Mapping[str, str]:
        return self._documents

    def lines(self, since: int) -> tuple[int, list[str]]:
        new = min(self._count - since, len(self._lines))
        return self._count, self._lines[len(self._lines) - new :] if new > 0 else []


def classify(clients: Clients, name: str, picture: bytes, kind: str, *, explain: bool) -> dict[str, Any]:
    """The endpoint's answer to one picture: classes with probabilities, the time it took, Grad-CAM's picture.

    Raises:
        ByocError: the picture is larger than a request may be, or there is no such endpoint.
        ClientError: the endpoint refuses the picture.
    """
    if len(picture) > LARGEST:
        raise ByocError(
            f"The picture has {len(picture) / 1e6:.1f} MB; a request to an endpoint has {LARGEST / 1e6:.1f} "
            "at most.",
            "Make it smaller.",
            kind="TooLarge",
        )
    if not picture:
        raise ByocError("The picture is empty.", "Choose another file.", kind="Empty")
    if described(clients, name) is None:
        raise ByocError(f"There is no endpoint {name}.", "Deploy a model.", code=NOT_FOUND, kind="NoEndpoint")
    begin = time.perf_counter()
    response = clients.runtime.invoke_endpoint(
        EndpointName=name,
        Body=picture,
        ContentType=kind if kind.startswith("image/") else "application/octet-stream",
        Accept="application/json",
        CustomAttributes="top_k=5; explain=grad-cam" if explain else "top_k=5",
    )
    body = response["Body"].read()
    milliseconds = (time.perf_counter() - begin) * 1000
    ranked = parse_answer(body)
    answer = json.loads(body)
    return {
        "top": [{"class": label, "probability": share} for label, share in ranked],
        "milliseconds": milliseconds,
        "explanation": answer.get("explanation"),
        "model": answer.get("model"),
    }
