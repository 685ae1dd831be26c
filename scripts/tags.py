"""Whose jobs and endpoints are: byoc tags what it makes with the project's name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from contract.errors import NOT_FOUND
from scripts.errors import translate

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

    from scripts.aws import Clients

PROJECT = "byoc:project"
_THREADS = 8
Warn = Callable[[str], None]


# What `byoc` lists, as the tagging API names it.
_KINDS = ("training-job", "hyper-parameter-tuning-job", "transform-job", "endpoint")


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


def _all_of_project(clients: Clients, project: str) -> set[str] | None:
    """ARNs, in lower case, of all that carry the tag; None where AWS does not answer that."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client: Any = clients.service("resourcegroupstaggingapi", patient=False, connect_timeout=2)
        pages = client.get_paginator("get_resources").paginate(
            TagFilters=[{"Key": PROJECT, "Values": [project]}],
            ResourceTypeFilters=[f"sagemaker:{kind}" for kind in _KINDS],
        )
        return {item["ResourceARN"].lower() for page in pages for item in page["ResourceTagMappingList"]}
    except (ClientError, BotoCoreError):  # or not reached from this VPC, or not there in this region
        return None


def _each_of_project(clients: Clients, project: str, arns: Collection[str], warn: Warn) -> set[str]:
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
        tags_by_arn = dict(zip(arns, pool.map(tagged, arns), strict=True))
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


def endpoints_of_project(clients: Clients, project: str, warn: Warn) -> dict[str, str]:
    """Name → status of the project's endpoints, by `of_project`; not those that are being deleted."""
    pages: Any = clients.sagemaker.get_paginator("list_endpoints").paginate()
    endpoints = [item for page in pages for item in page["Endpoints"] if item["EndpointStatus"] != "Deleting"]
    ours = of_project(clients, project, [item["EndpointArn"] for item in endpoints], warn)
    return {item["EndpointName"]: item["EndpointStatus"] for item in endpoints if item["EndpointArn"] in ours}
