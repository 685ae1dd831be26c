"""Endpoints: made whole or not at all, and taken away whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scripts import requests
from scripts.account import unique_name
from scripts.errors import FAILED, ByocError, translate
from scripts.jobs import ENDPOINT_LOGS, LogTail, Pace
from scripts.requests import Place
from scripts.settings import Settings

if TYPE_CHECKING:
    from scripts.aws import Clients

Say = Callable[[str], None]
_LOG_LINES = 20


@dataclass
class Undo:
    """Deletions of what was created so far, newest first."""

    steps: list[tuple[str, Callable[[], object]]] = field(default_factory=list)

    def run(self, say: Say) -> None:
        for what, delete in reversed(self.steps):
            try:
                delete()
                say(f"took back {what}")
            except Exception as error:  # the first error is the one to tell; this one only says what is left
                say(f"could not take back {what}: {translate(error) or error}")


@contextmanager
def whole_or_nothing(say: Say) -> Iterator[Undo]:
    """What the block names as undoable is undone if the block fails."""
    undo = Undo()
    try:
        yield undo
    except BaseException:
        undo.run(say)
        raise


def deploy(clients: Clients, settings: Settings, place: Place, artifact: str, say: Say) -> str:
    """Create model, endpoint configuration and endpoint; what was created is deleted if a later part fails.

    Returns:
        The endpoint's name. It is still being created: see `wait`.
    """
    sagemaker, name = clients.sagemaker, settings.endpoint_name
    if status := status_of(clients, name):
        raise ByocError(
            f"There is an endpoint {name} already ({status}).",
            f"Delete it with `byoc delete {name}`, or choose another name with --endpoint.",
            code=FAILED,
            kind="EndpointExists",
        )
    own = unique_name(name, "v", longest=60)
    with whole_or_nothing(say) as undo:
        sagemaker.create_model(**requests.model(settings, place, own, artifact))
        undo.steps.append((f"model {own}", lambda: sagemaker.delete_model(ModelName=own)))
        say(f"model {own}")
        sagemaker.create_endpoint_config(**requests.endpoint_config(settings, own, own))
        undo.steps.append(
            (
                f"endpoint configuration {own}",
                lambda: sagemaker.delete_endpoint_config(EndpointConfigName=own),
            )
        )
        say(f"endpoint configuration {own}")
        sagemaker.create_endpoint(**requests.endpoint(settings, own))
        say(f"endpoint {name}")
    return name


def wait(clients: Clients, name: str, say: Say) -> None:
    """Until the endpoint is InService.

    A failed one is taken away again, and the error ends with the last lines of its log.
    """
    pace, before = Pace(), ""
    while True:
        found = _describe(clients, name)
        status = found["EndpointStatus"] if found else "Deleted"
        if status != before:
            say(status)
        if status == "InService":
            return
        if status not in {"Creating", "Updating", "SystemUpdating"}:
            reason = (found or {}).get("FailureReason", f"it is {status}").strip()
            lines = list(LogTail(clients, ENDPOINT_LOGS + f"/{name}", "").read())[-_LOG_LINES:]
            log = "".join(f"\n  {line}" for line in lines)
            delete(clients, name, say)
            raise ByocError(
                f"The endpoint {name} did not come up: {reason}{log}",
                "It was taken away again.",
                code=FAILED,
                kind="EndpointFailed",
            )
        pace.wait(news=status != before)
        before = status


def delete(clients: Clients, name: str, say: Say) -> list[str]:
    """Delete the endpoint, its configuration and its models, and wait until it is gone.

    Parts that are gone already are passed over. Returns what was deleted.
    """
    sagemaker, deleted = clients.sagemaker, []
    found = _describe(clients, name)
    config = str(found["EndpointConfigName"]) if found else ""
    configs = [config] if config else _left_configs(clients, name)
    models = [model for item in configs for model in _models(clients, item)]
    if found:
        if found["EndpointStatus"] != "Deleting":
            _unless_missing(lambda: sagemaker.delete_endpoint(EndpointName=name))
        pace = Pace()
        while _describe(clients, name):
            pace.wait()
        deleted.append(f"endpoint {name}")
        say(deleted[-1])
    for item in configs:
        _unless_missing(lambda item=item: sagemaker.delete_endpoint_config(EndpointConfigName=item))  # type: ignore[misc]
        deleted.append(f"endpoint configuration {item}")
        say(deleted[-1])
    for item in models:
        if _unless_missing(lambda item=item: sagemaker.delete_model(ModelName=item)):  # type: ignore[misc]
            deleted.append(f"model {item}")
            say(deleted[-1])
    return deleted


def status_of(clients: Clients, name: str) -> str:
    """The endpoint's status; empty where there is none."""
    found = _describe(clients, name)
    return str(found["EndpointStatus"]) if found else ""


def _describe(clients: Clients, name: str) -> dict[str, Any] | None:
    from botocore.exceptions import ClientError

    try:
        return dict(clients.sagemaker.describe_endpoint(EndpointName=name))
    except ClientError as error:
        if _missing(error):
            return None
        raise


def _left_configs(clients: Clients, name: str) -> list[str]:
    """Configurations of ours whose endpoint is gone: a deletion that was interrupted."""
    pages = clients.sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=f"{name}-v-")
    return [
        item["EndpointConfigName"]
        for page in pages
        for item in page["EndpointConfigs"]
        # Not those of an endpoint that is called NAME-v.
        if re.fullmatch(re.escape(name) + r"-v-\d{4}-\d{6}-\d\d", item["EndpointConfigName"])
    ]


def _models(clients: Clients, config: str) -> list[str]:
    from botocore.exceptions import ClientError

    try:
        found = clients.sagemaker.describe_endpoint_config(EndpointConfigName=config)
    except ClientError as error:
        if _missing(error):
            return []
        raise
    return [variant["ModelName"] for variant in found["ProductionVariants"] if "ModelName" in variant]


def _unless_missing(send: Callable[[], object]) -> bool:
    from botocore.exceptions import ClientError

    try:
        send()
    except ClientError as error:
        if _missing(error):
            return False
        raise
    return True


def _missing(error: Exception) -> bool:
    """SageMaker says "Could not find …" with a ValidationException."""
    answer = getattr(error, "response", {}).get("Error", {})
    return answer.get("Code") == "ResourceNotFound" or (
        answer.get("Code") == "ValidationException" and "not find" in answer.get("Message", "").lower()
    )
