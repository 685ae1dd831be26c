"""Whose jobs and endpoints are: byoc tags what it makes with the project's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from contract.errors import NOT_FOUND
from scripts.errors import translate

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

    from scripts.aws import Clients

PROJECT = "byoc:project"
_THREADS = 8
Warn = Callable[[str], None]
T = TypeVar("T")


# What `byoc` makes in SageMaker, as the tagging API names it.
_LISTED = ("training-job", "hyper-parameter-tuning-job", "transform-job", "endpoint")
_BEHIND = ("endpoint", "endpoint-config", "model")
_STAMP = r"-\d{4}-\d{6}-\d\d"  # what `account.unique_name` ends a name with
# What byoc puts behind the project's name; for what is made for an endpoint it is the endpoint's, and `-v`.
_MADE_UP = {
    "training-job": rf"(train|convert){_STAMP}|tune{_STAMP}-\d+-\w+",
    "hyper-parameter-tuning-job": f"tune{_STAMP}",
    "transform-job": f"transform{_STAMP}",
    "model": f"transform{_STAMP}",
}


def of_project(clients: Clients, project: str, arns: Collection[str], warn: Warn) -> set[str]:
    """Of these ARNs, those that carry the project's tag; one that is gone does not.

    One request for all of them, or, where AWS does not allow that one, one for each. Where it does not allow
    those either, that is reported once, and the project's name in theirs counts.

    Raises:
        ClientError: of any other kind, e.g. of throttling that did not end with the retries.
    """
    if not arns:
        return set()
    tagged = _all_of_project(clients, project)
    if tagged is not None:
        return {arn for arn in arns if arn.lower() in tagged}
    return _each_of_project(clients, project, arns, warn)


def _all_of_project(clients: Clients, project: str, kinds: Collection[str] = _LISTED) -> set[str] | None:
    """ARNs, in lower case, of all that carry the tag; None where AWS does not answer that."""
    tagged = _tagged(clients, {"Key": PROJECT, "Values": [project]}, kinds)
    return None if tagged is None else {item["ResourceARN"].lower() for item in tagged}


def _tagged(clients: Clients, tag: dict[str, Any], kinds: Collection[str]) -> list[Any] | None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client: Any = clients.service("resourcegroupstaggingapi", patient=False, connect_timeout=2)
        pages = client.get_paginator("get_resources").paginate(
            TagFilters=[tag], ResourceTypeFilters=[f"sagemaker:{kind}" for kind in kinds]
        )
        return [item for page in pages for item in page["ResourceTagMappingList"]]
    except (ClientError, BotoCoreError):  # or not reached from this VPC, or not there in this region
        return None


def other_projects(clients: Clients, project: str) -> set[str] | None:
    """Projects that have endpoints, configurations or models in this region; None where AWS does not say."""
    tagged = _tagged(clients, {"Key": PROJECT}, _BEHIND)
    if tagged is None:
        return None
    names = {tag["Value"] for item in tagged for tag in item["Tags"] if tag["Key"] == PROJECT}
    return names - {project}


@dataclass(frozen=True)
class Owner:
    """What may be deleted with a project: what carries its tag.

    Where no tag may be read it is what has a name that only byoc makes, and makes for this project only:
    `digits-train-0412-093007-51`, and never what merely holds the project's name.
    """

    clients: Clients
    project: str
    warn: Warn
    known: Collection[str] = ()
    """Names of endpoints that this folder deployed, or that its settings name."""

    @cached_property
    def _tagged(self) -> set[str] | None:
        return _all_of_project(self.clients, self.project, {*_LISTED, *_BEHIND})

    @property
    def knows_all(self) -> bool:
        """Whether one request says it for all; or else each has to be asked for its tags."""
        return self._tagged is not None

    def names(self, arns: Mapping[str, str]) -> list[str]:
        """Of these (name → ARN), the project's."""
        if self._tagged is not None:
            # The index of tags lags behind: what looks like ours and is not in it is asked itself.
            likely = [
                arn
                for name, arn in arns.items()
                if arn.lower() not in self._tagged and self._is_made_up(name, arn)
            ]
            tagged = _tags_of_each(self.clients, self.project, likely) if likely else {}
            return [name for name, arn in arns.items() if arn.lower() in self._tagged or tagged.get(arn)]
        tags = _tags_of_each(self.clients, self.project, arns.values())
        if None in tags.values():
            self.warn(
                f"AWS does not allow to read tags: only names that byoc makes up for {self.project} are "
                "taken for this project's. Ask for the permission tag:GetResources, or sagemaker:ListTags."
            )
        return [
            name
            for name, arn in arns.items()
            if (self._is_made_up(name, arn) if tags[arn] is None else tags[arn])
        ]

    def _is_made_up(self, name: str, arn: str) -> bool:
        kind = arn.rpartition(":")[2].partition("/")[0]
        if kind == "endpoint":
            return name in self.known
        if kind in _BEHIND and any(
            re.fullmatch(f"{re.escape(endpoint)}-v{_STAMP}", name) for endpoint in (self.project, *self.known)
        ):
            return True
        # By kind: the tuning jobs of a project digits-transform are called like the transform jobs of digits.
        made = _MADE_UP.get(kind)
        return made is not None and re.fullmatch(f"{re.escape(self.project)}-({made})", name) is not None


def _tags_of_each(clients: Clients, project: str, arns: Collection[str]) -> dict[str, bool | None]:
    """ARN → whether it carries the project's tag; None where AWS does not allow to read its tags."""
    from botocore.exceptions import ClientError

    tag = {"Key": PROJECT, "Value": project}

    def tagged(arn: str) -> bool | None:
        try:
            pages = clients.sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
            return any(tag in page["Tags"] for page in pages)
        except ClientError as error:
            if is_forbidden(error):
                return None
            readable = translate(error)
            if readable and readable.code == NOT_FOUND:
                return False
            raise

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return dict(zip(arns, pool.map(tagged, arns), strict=True))


def _each_of_project(clients: Clients, project: str, arns: Collection[str], warn: Warn) -> set[str]:
    tags_by_arn = _tags_of_each(clients, project, arns)
    if None in tags_by_arn.values():
        warn(
            f"AWS does not allow ListTags: only what has {project} in its name is taken for this project's. "
            "Ask for the permission tag:GetResources, or sagemaker:ListTags."
        )

    def named(arn: str) -> bool:
        return project.lower() in arn.rpartition("/")[2].lower()  # SageMaker's ARNs are in lower case

    return {arn for arn, ours in tags_by_arn.items() if (named(arn) if ours is None else ours)}


def is_forbidden(error: ClientError) -> bool:
    """Whether AWS refused for want of a permission, not e.g. for credentials that ran out."""
    code = str(error.response.get("Error", {}).get("Code"))
    return "AccessDenied" in code or code == "UnauthorizedOperation"  # which is EC2's


def if_allowed(ask: Callable[[], T]) -> T | None:
    """What AWS answers; None where it does not allow to ask."""
    from botocore.exceptions import ClientError

    try:
        return ask()
    except ClientError as error:
        if is_forbidden(error):
            return None
        raise


def endpoints_of_project(clients: Clients, project: str, warn: Warn) -> dict[str, str]:
    """Name → status of the project's endpoints, by `of_project`; not those that are being deleted."""
    pages: Any = clients.sagemaker.get_paginator("list_endpoints").paginate()
    endpoints = [item for page in pages for item in page["Endpoints"] if item["EndpointStatus"] != "Deleting"]
    ours = of_project(clients, project, [item["EndpointArn"] for item in endpoints], warn)
    return {item["EndpointName"]: item["EndpointStatus"] for item in endpoints if item["EndpointArn"] in ours}
