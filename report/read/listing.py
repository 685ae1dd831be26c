"""Lists of jobs of all kinds and of endpoints, newest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from report.read.aws import Clients

# Kind → method of boto3's client, the key of the items in its answer, and the prefix of their keys.
KINDS: Final = {
    "training": ("list_training_jobs", "TrainingJobSummaries", "TrainingJob"),
    "tuning": (
        "list_hyper_parameter_tuning_jobs",
        "HyperParameterTuningJobSummaries",
        "HyperParameterTuningJob",
    ),
    "transform": ("list_transform_jobs", "TransformJobSummaries", "TransformJob"),
    "endpoint": ("list_endpoints", "Endpoints", "Endpoint"),
}
PAGE: Final = 100  # SageMaker's limit
_NEWEST: Final = {"SortBy": "CreationTime", "SortOrder": "Descending"}


def newest(clients: Clients, limit: int, within: str) -> list[dict[str, Any]]:
    """The newest `limit` of each kind, with `within` in their names; 100 endpoints, as these cost money."""
    return [
        item
        for kind in KINDS
        for item in of_kind(clients, kind, max(PAGE, limit) if kind == "endpoint" else limit, within)
    ]


def of_kind(clients: Clients, kind: str, limit: int, within: str = "") -> list[dict[str, Any]]:
    """The newest `limit` of one kind: kind, name, status, arn, whether it has a warm pool, and its times."""
    return [item for _, item in zip(range(limit), _pages(clients, kind, limit, within), strict=False)]


def has_warm_pool(job: Mapping[str, Any]) -> bool:
    """Whether a job has left a pool that nobody has taken, and whose time is not over: it is paid for."""
    return bool(job.get("WarmPoolStatus", {}).get("Status") == "Available")


def _pages(clients: Clients, kind: str, limit: int, within: str) -> Iterator[dict[str, Any]]:
    method, answer, what = KINDS[kind]
    query: dict[str, Any] = {**_NEWEST, "MaxResults": min(limit, PAGE)}
    if within:
        query["NameContains"] = within
    while True:
        page = getattr(clients.sagemaker, method)(**query)
        for item in page[answer]:
            yield {
                "kind": kind,
                "name": item[f"{what}Name"],
                "status": item[f"{what}Status"],
                "at": item["CreationTime"],
                "ended": item.get("TrainingEndTime")
                or item.get("HyperParameterTuningEndTime")
                or item.get("TransformEndTime"),
                "arn": item[f"{what}Arn"],
                "pool": has_warm_pool(item),
            }
        if not (token := page.get("NextToken")):
            return
        query["NextToken"] = token
