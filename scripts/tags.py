"""Whose jobs and endpoints are: byoc tags what it makes with the project's name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from scripts.errors import NOT_FOUND, translate

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

    from scripts.aws import Clients

PROJECT = "byoc:project"
_THREADS = 8
Warn = Callable[[str], None]


def of_project(clients: Clients, project: str, arns: Collection[str], warn: Warn) -> set[str]:
    """Of these ARNs, those that carry the project's tag; one that is gone does not.

    Where AWS does not allow to read tags, that is told once, and the project's name in theirs counts.

    Raises:
        ClientError: of any other kind, e.g. of throttling that did not end with botocore's retries.
    """
    from botocore.exceptions import ClientError

    tag = {"Key": PROJECT, "Value": project}

    def tagged(arn: str) -> bool | None:
        try:
            pages = clients.sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
            return any(tag in page["Tags"] for page in pages)
        except ClientError as error:
            if is_forbidden(error):
                return None
            known = translate(error)
            if known and known.code == NOT_FOUND:
                return False
            raise

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        found = dict(zip(arns, pool.map(tagged, arns), strict=True))
    if None in found.values():
        warn(
            f"AWS does not allow ListTags: only what has {project} in its name is taken for this project's. "
            "Ask for the permission sagemaker:ListTags."
        )

    def named(arn: str) -> bool:
        return project.lower() in arn.rpartition("/")[2].lower()  # SageMaker's ARNs are in lower case

    return {arn for arn, ours in found.items() if (named(arn) if ours is None else ours)}


def is_forbidden(error: ClientError) -> bool:
    """Whether AWS refused for want of a permission, not e.g. for credentials that ran out."""
    return "AccessDenied" in str(error.response.get("Error", {}).get("Code"))


def endpoints_of_project(clients: Clients, project: str, warn: Warn) -> dict[str, str]:
    """Name → status of the project's endpoints, by `of_project`; not those that are being deleted."""
    pages: Any = clients.sagemaker.get_paginator("list_endpoints").paginate()
    found = [item for page in pages for item in page["Endpoints"] if item["EndpointStatus"] != "Deleting"]
    ours = of_project(clients, project, [item["EndpointArn"] for item in found], warn)
    return {item["EndpointName"]: item["EndpointStatus"] for item in found if item["EndpointArn"] in ours}
