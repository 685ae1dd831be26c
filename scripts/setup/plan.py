"""What setting up would change, as values: looked at first, then sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from scripts.errors import translate
from scripts.tags import PROJECT, Warn

if TYPE_CHECKING:
    from scripts.aws import Clients


@dataclass(frozen=True)
class Call:
    """One request to AWS."""

    says: str
    """What it does, after the name of what it is done to: "blocks public access"."""
    service: str
    operation: str
    """As boto3 names it."""
    request: Mapping[str, Any]
    optional: bool = False
    """Whether what it is done to can be used without."""


@dataclass(frozen=True)
class Step:
    """One thing in the account: how it is, and the requests that make it what the settings want."""

    what: str
    state: Literal["missing", "differs", "ready", "foreign"]
    """`foreign`: somebody else made it, so it is used and left as it is."""
    calls: tuple[Call, ...] = ()
    notes: tuple[str, ...] = field(default=())


def step(what: str, calls: Iterable[Call], notes: Iterable[str] = ()) -> Step:
    """For something that exists and is the project's."""
    needed = tuple(calls)
    return Step(what, "differs" if needed else "ready", needed, tuple(notes))


def send(clients: Clients, step: Step, warn: Warn) -> None:
    """Send the requests of a step in their order.

    Raises:
        ByocError: AWS refused one; those before it were carried out. A second run begins with the rest.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    for call in step.calls:
        client = getattr(clients, call.service)
        try:
            getattr(client, call.operation)(**call.request)
        except (ClientError, BotoCoreError) as error:
            readable = translate(error)
            if readable is None:
                raise
            if not call.optional:
                readable.message = f"{step.what}: {readable.message}"
                readable.remedy = f"{readable.remedy} Then run the command again: it does the rest.".strip()
                raise readable from error
            warn(f"{step.what}: without “{call.says}”: {readable.message}")


def project_of(tags: Iterable[Mapping[str, Any]]) -> str:
    """The project whose `byoc` made what carries these tags; "" if none did."""
    return next((str(tag["Value"]) for tag in tags if tag["Key"] == PROJECT), "")


def within(wanted: Any, there: Any) -> bool:
    """Whether `there` says all that `wanted` says. AWS adds members of its own to what it was sent."""
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(
            key in there and within(value, there[key]) for key, value in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return isinstance(there, list | tuple) and all(
            any(within(value, other) for other in there) for value in wanted
        )
    return bool(wanted == there)


def other_project(owner: str) -> str:
    return f"made for the project {owner}, so it is used and left as it is"


def not_ours(kind: str) -> str:
    return f"`byoc` did not make this {kind} (it has no tag {PROJECT}), so it is used and left as it is"
