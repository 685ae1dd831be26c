"""Whose jobs and endpoints are: byoc tags what it makes with the project's name."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scripts.aws import Clients

PROJECT = "byoc:project"
_THREADS = 8


def of_project(clients: Clients, project: str, arns: Collection[str]) -> set[str]:
    """Of these ARNs, those that carry the project's tag; one that is gone, or may not be read, does not."""
    from botocore.exceptions import ClientError

    tag = {"Key": PROJECT, "Value": project}

    def tagged(arn: str) -> bool:
        try:
            pages = clients.sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
            return any(tag in page["Tags"] for page in pages)
        except ClientError:
            return False

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return {arn for arn, ours in zip(arns, pool.map(tagged, arns), strict=True) if ours}


def endpoints_of_project(clients: Clients, project: str) -> dict[str, str]:
    """Name → status of the project's endpoints, whatever their names; not those that are being deleted."""
    pages: Any = clients.sagemaker.get_paginator("list_endpoints").paginate()
    found = [item for page in pages for item in page["Endpoints"] if item["EndpointStatus"] != "Deleting"]
    ours = of_project(clients, project, [item["EndpointArn"] for item in found])
    return {item["EndpointName"]: item["EndpointStatus"] for item in found if item["EndpointArn"] in ours}
