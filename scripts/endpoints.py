"""Endpoints: made whole or not at all, updated without a gap, and taken away whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from contract.errors import FAILED, NOT_FOUND, ByocError
from contract.names import ENDPOINT_LOGS
from report.read import aws
from report.read.logs import LogTail
from report.read.pace import Pace
from scripts import creation, requests
from scripts.account import unique_name
from scripts.aws import unless_gone
from scripts.errors import translate
from scripts.requests import Place
from scripts.settings import Settings

if TYPE_CHECKING:
    from scripts.aws import Clients

Say = Callable[[str], None]
_LOG_LINES = 20
_LOOKS = 20
_CHANGING = {"Creating", "Updating", "SystemUpdating", "RollingBack"}
_STAMP = r"-\d{4}-\d{6}-\d\d"  # what `unique_name` ends a name with
_LONGEST_STEM = 46  # of the 63 characters, `unique_name` needs the others


@dataclass
class Undo:
    """Deletions of what was created so far, newest first."""

    steps: list[tuple[str, Callable[[], object]]] = field(default_factory=list)
    in_use_by: Callable[[], str] = lambda: ""
    """What uses it all the same, if anything: a request may be granted though its answer is lost."""

    def run(self, say: Say) -> None:
        try:
            user = self.in_use_by()
        except Exception as error:
            say(f"what was made stays, as it may be in use: {translate(error) or error}")
            return
        if user:
            say(f"what was made stays: in spite of the error, {user} uses it or will; see `byoc jobs`")
            return
        for what, delete in reversed(self.steps):
            try:
                delete()
                say(f"took back {what}")
            except (
                Exception
            ) as error:  # the first error is the one to report; this one only says what is left
                say(f"could not take back {what}: {translate(error) or error}")


@contextmanager
def whole_or_nothing(say: Say) -> Iterator[Undo]:
    """What the block names as undoable is undone if the block fails, unless it is in use."""
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
    name = settings.endpoint_name
    if status := status_of(clients, name):
        update = (
            "Put the model on it with `byoc deploy --update`, or choose"
            if status == "InService"
            else "Choose"
        )
        raise ByocError(
            f"There is an endpoint {name} already ({status}).",
            f"{update} another name with --endpoint. `byoc delete {name}` deletes it.",
            kind="EndpointExists",
        )
    with whole_or_nothing(say) as undo:
        config = _create_config(clients, settings, place, artifact, undo, say)
        undo.in_use_by = lambda: _user(clients, name, config)
        creation.create(
            place,
            lambda: clients.sagemaker.create_endpoint(**requests.endpoint(settings, config)),
            lambda: _describe(clients, name),
        )
        say(f"endpoint {name}")
    return name


def wait(clients: Clients, name: str, say: Say) -> None:
    """Until the endpoint is InService.

    A failed one is taken away again, and the error ends with the last lines of its log.
    """
    endpoint = _settled(clients, name, say)
    if endpoint["EndpointStatus"] != "InService":
        reason = _why(clients, name, endpoint, endpoint.get("CreationTime"))
        delete(clients, name, say)
        raise ByocError(
            f"The endpoint {name} did not come up: {reason}",
            "It was deleted again, so it costs nothing; mend that, then deploy again.",
            code=FAILED,
            kind="EndpointFailed",
        )


@dataclass(frozen=True)
class Update:
    """An update under way: names of the endpoint, of the configuration that comes and the one that goes."""

    endpoint: str
    new: str
    old: str


def update(clients: Clients, settings: Settings, place: Place, artifact: str, say: Say) -> Update:
    """Create model and endpoint configuration, and ask for them on a running endpoint of ours.

    It goes on answering with what it has. What was created is deleted if a later part fails.

    Returns:
        What `wait_for_update` needs, which also deletes what is no longer used.
    """
    name = settings.endpoint_name
    endpoint = _describe(clients, name)
    if not endpoint:
        raise ByocError(
            f"There is no endpoint {name} to update.",
            "`byoc deploy` without --update makes it; --endpoint names another one.",
            code=NOT_FOUND,
            kind="NoEndpoint",
        )
    old, status = endpoint["EndpointConfigName"], endpoint["EndpointStatus"]
    if not _is_own(name, old):
        raise ByocError(
            f"The endpoint {name} was not made by byoc: its configuration is {old}.",
            "Choose another name with --endpoint.",
            kind="EndpointNotOurs",
        )
    if status != "InService":
        changing = status in _CHANGING | {"Deleting"}
        raise ByocError(
            f"The endpoint {name} is {status}; only one that is InService can be updated.",
            "Try again when `byoc jobs` says so." if changing else f"Delete it with `byoc delete {name}`.",
            code=FAILED,
            kind="EndpointNotInService",
        )
    with whole_or_nothing(say) as undo:
        new = _create_config(clients, settings, place, artifact, undo, say)
        undo.in_use_by = lambda: _user(clients, name, new)
        creation.create(
            place,
            lambda: clients.sagemaker.update_endpoint(**requests.endpoint_update(settings, new)),
            lambda: _describe(clients, name) if _user(clients, name, new) else None,
        )
    return Update(name, new, old)


def wait_for_update(clients: Clients, update: Update, say: Say) -> None:
    """Until the new model answers; then the configurations and models before it are deleted.

    If the new one does not come up, it is deleted in their place, and the error ends with the last lines of
    the endpoint's log. If yet another one serves in the end, its update deletes what is no longer used.
    """
    name = update.endpoint
    endpoint = _settled(clients, name, say)
    serves = endpoint["EndpointConfigName"] if endpoint["EndpointStatus"] == "InService" else ""
    if serves == update.new:
        configs = _own_configs(clients, name)
        # Also those that an update left behind which nobody waited for; not those of one that came after.
        older = {config for config, made in configs.items() if made < configs.get(update.new, made)}
        for config in sorted({update.old, *older}):
            _delete_config(clients, config, say)
        return
    if serves not in ("", update.old):
        raise ByocError(
            f"Another update came after this one: the endpoint {name} answers with {serves} by now.",
            "If it is to be this model, put it there again: `byoc deploy JOB --update`.",
            code=FAILED,
            kind="EndpointUpdateReplaced",
        )
    begun = _own_configs(clients, name).get(update.new)  # made just before, by SageMaker's clock
    reason = _why(clients, name, endpoint, begun)
    if serves:
        _delete_config(clients, update.new, say)
        remedy = "The endpoint goes on answering with the model that it had."
    else:
        remedy = f"It has to be made anew: `byoc delete {name}`, then `byoc deploy`."
    raise ByocError(
        f"The update of the endpoint {name} failed: {reason}",
        remedy,
        code=FAILED,
        kind="EndpointUpdateFailed",
    )


def _create_config(
    clients: Clients, settings: Settings, place: Place, artifact: str, undo: Undo, say: Say
) -> str:
    """Model and endpoint configuration, of one new name."""
    sagemaker, own = clients.sagemaker, unique_name(_stem(settings.endpoint_name), "v")
    model = requests.model(settings, place, own, artifact)
    config = requests.endpoint_config(settings, own, own)
    creation.create(place, lambda: sagemaker.create_model(**model), lambda: find_model(clients, own))
    undo.steps.append((f"model {own}", lambda: sagemaker.delete_model(ModelName=own)))
    say(f"model {own}")
    creation.create(
        place,
        lambda: sagemaker.create_endpoint_config(**config),
        lambda: aws.find(lambda: sagemaker.describe_endpoint_config(EndpointConfigName=own)),
    )
    undo.steps.append(
        (f"endpoint configuration {own}", lambda: sagemaker.delete_endpoint_config(EndpointConfigName=own))
    )
    say(f"endpoint configuration {own}")
    return own


def _user(clients: Clients, name: str, config: str) -> str:
    """The endpoint, where it uses the configuration or is, or may be, on its way to it."""
    endpoint = _describe(clients, name)
    if not endpoint:
        return ""
    unknown = config if endpoint["EndpointStatus"] == "Updating" else ""
    coming = endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName", unknown)
    return f"the endpoint {name}" if config in (endpoint["EndpointConfigName"], coming) else ""


def _settled(clients: Clients, name: str, say: Say) -> dict[str, Any]:
    """The endpoint's description once nothing is under way; reports the statuses until then."""
    pace, before = Pace(), ""
    while True:
        endpoint = _describe(clients, name) or {"EndpointStatus": "Deleted"}
        status = endpoint["EndpointStatus"]
        if status != before:
            say(status)
        if status not in _CHANGING:
            return endpoint
        pace.wait(news=status != before)
        before = status


def _why(clients: Clients, name: str, endpoint: dict[str, Any], begun: datetime | None) -> str:
    """The reason of a failure, and the last lines of the endpoint's log since what failed has begun."""
    reason = str(endpoint.get("FailureReason") or f"it is {endpoint['EndpointStatus']}").strip()
    since = int(begun.timestamp() * 1000) if begun else 0
    lines = list(LogTail(clients, f"{ENDPOINT_LOGS}/{name}", "", since).read())[-_LOG_LINES:]
    return reason + "".join(f"\n  {line}" for line in lines)


def delete(clients: Clients, name: str, say: Say) -> list[str]:
    """Delete the endpoint, its configuration and its models, and wait until it is gone.

    What an interrupted deletion or update has left goes too; parts that are gone already are passed over.
    A configuration that was not made here stays, and its models: other endpoints may use them.
    Returns what was deleted.
    """
    sagemaker, deleted = clients.sagemaker, []
    endpoint, configs = _describe(clients, name), _own_configs(clients, name)
    if endpoint:
        if endpoint["EndpointStatus"] != "Deleting":
            unless_gone(sagemaker.delete_endpoint, EndpointName=name)
        _wait_until_gone(clients, name)
        deleted.append(f"endpoint {name}")
        say(f"deleted {deleted[-1]}")
        if not _is_own(name, config := endpoint["EndpointConfigName"]):
            say(f"kept endpoint configuration {config} and its models, which byoc did not make for it")
    for item in sorted(configs):
        deleted += _delete_config(clients, item, say)
    return deleted


def _wait_until_gone(clients: Clients, name: str) -> None:
    pace, deleting, looks = Pace(), False, 0
    while endpoint := _describe(clients, name):
        deleting, looks = deleting or endpoint["EndpointStatus"] == "Deleting", looks + 1
        # It may show the status from before the deletion for a moment.
        if endpoint["EndpointStatus"] not in _CHANGING | {"Deleting"} and (deleting or looks > _LOOKS):
            raise ByocError(
                f"The endpoint {name} was not deleted: it is {endpoint['EndpointStatus']}. "
                f"{endpoint.get('FailureReason', '')}".strip(),
                f"It costs money until it is gone: try `byoc delete {name}` again.",
                code=FAILED,
                kind="EndpointNotDeleted",
            )
        pace.wait()


def _delete_config(clients: Clients, config: str, say: Say) -> list[str]:
    """Delete an endpoint configuration and its models; returns what was there."""
    sagemaker, deleted = clients.sagemaker, []
    models = _models(clients, config)
    if unless_gone(sagemaker.delete_endpoint_config, EndpointConfigName=config):
        deleted.append(f"endpoint configuration {config}")
        say(f"deleted {deleted[-1]}")
    for model in models:
        if unless_gone(sagemaker.delete_model, ModelName=model):
            deleted.append(f"model {model}")
            say(f"deleted {deleted[-1]}")
    return deleted


def status_of(clients: Clients, name: str) -> str:
    """The endpoint's status; empty where there is none."""
    endpoint = _describe(clients, name)
    return str(endpoint["EndpointStatus"]) if endpoint else ""


def _describe(clients: Clients, name: str) -> dict[str, Any] | None:
    return aws.find(lambda: clients.sagemaker.describe_endpoint(EndpointName=name))


def find_model(clients: Clients, name: str) -> dict[str, Any] | None:
    """The model, if there is one."""
    return aws.find(lambda: clients.sagemaker.describe_model(ModelName=name))


def _stem(name: str) -> str:
    """What begins the names of an endpoint's configurations and models; no two endpoints have the same.

    What is named so is deleted with the endpoint: a long name is not only cut.
    """
    if len(name) <= _LONGEST_STEM:
        return name
    digest = sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_STEM - 9].rstrip('-')}-{digest}"


def _is_own(name: str, config: str) -> bool:
    """Whether a configuration was made here for the endpoint; one for an endpoint called NAME-v was not."""
    return bool(re.fullmatch(re.escape(_stem(name)) + "-v" + _STAMP, config))


def _own_configs(clients: Clients, name: str) -> dict[str, datetime]:
    """Configurations that were made here for the endpoint, whether it uses them or not, and when."""
    pages = clients.sagemaker.get_paginator("list_endpoint_configs").paginate(
        NameContains=f"{_stem(name)}-v-"
    )
    return {
        item["EndpointConfigName"]: item["CreationTime"]
        for page in pages
        for item in page["EndpointConfigs"]
        if _is_own(name, item["EndpointConfigName"])
    }


def _models(clients: Clients, config: str) -> list[str]:
    described = aws.find(lambda: clients.sagemaker.describe_endpoint_config(EndpointConfigName=config)) or {}
    variants = described.get("ProductionVariants", ())
    return [variant["ModelName"] for variant in variants if "ModelName" in variant]
