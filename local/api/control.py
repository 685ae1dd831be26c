"""What every operation needs: settings, store, engine, and the few things that they all do.

A kind of resource is a subclass whose methods with AWS's names are its operations: `CreateModel` is found by
searching for `CreateModel`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.config import Config
from local.errors import AwsError, ResourceInUse, ValidationException
from local.jobs.documents import UNDER_WAY
from local.seam import EngineLike
from local.store import Document, Store

Request = dict[str, Any]
_ARN_MEMBERS = {
    "training-job": "TrainingJobArn",
    "tuning-job": "HyperParameterTuningJobArn",
    "transform-job": "TransformJobArn",
    "model": "ModelArn",
    "endpoint-config": "EndpointConfigArn",
    "endpoint": "EndpointArn",
}


@dataclass(frozen=True)
class Control:
    """The control plane's state, and what operations of every kind of resource share."""

    config: Config
    store: Store
    engine: EngineLike

    def find(self, kind: str, name: str, missing: Callable[[str], AwsError]) -> Document:
        """The document, or the error that `missing` makes of its ARN."""
        doc = self.store.get(kind, name)
        if doc is None:
            raise missing(self.config.arn(kind, name))
        return doc

    def add(
        self,
        kind: str,
        name: str,
        doc: Document,
        request: Request,
        taken: AwsError,
        *,
        launch: bool = False,
    ) -> str:
        """Puts a new document and its tags into the store, and lets the engine `launch` it; its ARN.

        Raises `taken` if the name is. What cannot be launched is not left in the store.
        """
        tags = unique_tags(request.get("Tags", []))
        if not self.store.insert(kind, name, doc):
            raise taken
        arn = self.config.arn(kind, name)
        if tags:
            self.store.put("tags", arn, {"Tags": tags})
        if launch:
            try:
                self.engine.submit(kind, name)
            except Exception:
                self.remove(kind, name)
                raise
        return arn

    def remove(self, kind: str, name: str) -> None:
        """Deletes a document and its tags."""
        doc = self.store.get(kind, name)
        self.store.delete(kind, name)
        if doc is not None:
            self.store.delete("tags", arn_of(kind, doc))


def arn_of(kind: str, doc: Document) -> str:
    """A document's ARN, in the region of the client who made it."""
    return str(doc[_ARN_MEMBERS[kind]])


def unique_tags(tags: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The tags as AWS keeps them. ValidationException if a key is there twice, or AWS's own."""
    keys = [tag["Key"] for tag in tags]
    reserved = sorted(key for key in keys if key.lower().startswith("aws:"))
    if reserved:
        raise ValidationException(
            f"Tag keys that begin with aws: are reserved: {', '.join(reserved)}. Choose other names."
        )
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValidationException(f"Duplicate tag keys: {', '.join(twice)}. Give each key once.")
    return [{"Key": tag["Key"], "Value": tag["Value"]} for tag in tags]


def unique(names: Sequence[str], what: str) -> None:
    """ValidationException if a name is there twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValidationException(f"Duplicate {what}: {', '.join(twice)}. Give each {what} once.")


def name_taken(kind: str, job: str, arn: str) -> ResourceInUse:
    """The error, in AWS's words, for the name of a job that exists: `kind` begins the sentence."""
    return ResourceInUse(
        f"{kind} names must be unique within an AWS account and region, and a {job} with this name already "
        f"exists ({arn})"
    )


def require_under_way(what: str, status: str) -> None:
    """ValidationException for the stop of a job that is over."""
    if status not in UNDER_WAY:
        raise ValidationException(f"The request was rejected because the {what} is in status {status}.")


def echo(request: Request, *members: str) -> Document:
    """The members of a request that Describe* gives back as they were."""
    return {name: request[name] for name in members if name in request}


def now() -> float:
    return time.time()
