"""What a tuning job with a WarmStartConfig knows of its parents: their training jobs' results, the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.jobs.documents import Document
from local.jobs.search import Result
from local.store import Condition, Store

_MOST = 10_000  # training jobs of a parent: as many as any strategy may start


def names(doc: Mapping[str, Any]) -> list[str]:
    """The parents' names, in the order of the request; of a request or a document."""
    config = doc.get("WarmStartConfig", {})
    return [
        parent["HyperParameterTuningJobName"] for parent in config.get("ParentHyperParameterTuningJobs", [])
    ]


def identical(doc: Mapping[str, Any]) -> bool:
    return bool(doc.get("WarmStartConfig", {}).get("WarmStartType") == "IdenticalDataAndAlgorithm")


def documents(store: Store, doc: Mapping[str, Any]) -> list[Document]:
    """The parents that are still there: one may have been deleted since."""
    parents = [store.get("tuning-job", name) for name in names(doc)]
    return [parent for parent in parents if parent is not None]


def children(store: Store, parent: Mapping[str, Any]) -> list[Document]:
    """The training jobs of a tuning job. Those of an earlier one of its name are not."""
    only = [Condition("parent", "equals", parent["HyperParameterTuningJobArn"])]
    rows = store.page("training-job", only, limit=_MOST)
    return [doc for doc, _, _ in rows if doc["CreationTime"] >= parent["CreationTime"]]


def results(store: Store, doc: Mapping[str, Any]) -> list[Result]:
    """What the training jobs of the parents have reached, those without an objective left out."""
    return [
        Result(
            child.get("HyperParameters", {}),
            child["_FinalObjectiveMetric"]["Value"],
            child.get("_ObjectiveValues", 1),
            child["TrainingJobStatus"] == "Completed",
            parent["HyperParameterTuningJobName"],
        )
        for parent in documents(store, doc)
        for child in children(store, parent)
        if "_FinalObjectiveMetric" in child
    ]


def best(store: Store, doc: Mapping[str, Any], own: Document | None, *, maximize: bool) -> Document | None:
    """OverallBestTrainingJob: the best of this tuning job and its parents; None if there is none."""
    summaries = [parent.get("BestTrainingJob") for parent in documents(store, doc)]
    there = [summary for summary in [own, *summaries] if summary is not None]
    sign = 1 if maximize else -1
    return max(
        there,
        key=lambda one: sign * one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"],
        default=None,
    )
