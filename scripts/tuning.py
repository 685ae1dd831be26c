"""Tuning jobs from the outside: their trials, and the best of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scripts.errors import FAILED, NOT_FOUND, ByocError
from scripts.jobs import ENDED, Pace

if TYPE_CHECKING:
    from scripts.aws import Clients


@dataclass(frozen=True)
class Trial:
    """One training job of a tuning job."""

    name: str
    status: str
    hyperparameters: Mapping[str, str]
    """The tuned ones only."""
    objective: float | None
    reason: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """A tuning job at one moment; trials in the order they were started."""

    name: str
    status: str
    metric: str
    maximise: bool
    total: int
    trials: tuple[Trial, ...]
    best: str = ""
    reason: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def look(clients: Clients, name: str) -> Snapshot:
    """The tuning job as it is now."""
    from botocore.exceptions import ClientError

    try:
        job = clients.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"ResourceNotFound", "ValidationException"}:
            raise
        raise ByocError(
            f"There is no tuning job {name}.",
            "`byoc jobs` lists what there is.",
            code=NOT_FOUND,
            kind="NoJob",
        ) from None
    config = job["HyperParameterTuningJobConfig"]
    objective = config["HyperParameterTuningJobObjective"]
    pages = clients.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name, SortBy="CreationTime", SortOrder="Ascending"
    )
    trials = tuple(_trial(dict(item)) for page in pages for item in page["TrainingJobSummaries"])
    return Snapshot(
        name=name,
        status=job["HyperParameterTuningJobStatus"],
        metric=objective["MetricName"],
        maximise=objective["Type"] == "Maximize",
        total=config["ResourceLimits"].get("MaxNumberOfTrainingJobs", len(trials)),
        trials=trials,
        best=job.get("BestTrainingJob", {}).get("TrainingJobName", ""),
        reason=job.get("FailureReason", ""),
    )


def _trial(item: dict[str, Any]) -> Trial:
    metric = item.get("FinalHyperParameterTuningJobObjectiveMetric", {})
    begin, end = item.get("TrainingStartTime"), item.get("TrainingEndTime")
    return Trial(
        name=item["TrainingJobName"],
        status=item["TrainingJobStatus"],
        hyperparameters=dict(sorted(item.get("TunedHyperParameters", {}).items())),
        objective=metric.get("Value"),
        reason=item.get("FailureReason", ""),
        seconds=(end - begin).total_seconds() if begin and end else None,
    )


def follow(clients: Clients, name: str) -> Iterator[Snapshot]:
    """Snapshots until the tuning job has ended; the last one is final."""
    pace, before = Pace(longest=5.0), None
    while True:
        now = look(clients, name)
        yield now
        if now.ended:
            return
        pace.wait(news=now != before)
        before = now


def best(clients: Clients, name: str) -> dict[str, Any]:
    """The best training job, its objective and its tuned hyperparameters, as SageMaker judges.

    Raises:
        ByocError: no trial has completed.
    """
    snapshot = look(clients, name)
    trial = next((item for item in snapshot.trials if item.name == snapshot.best), None)
    if trial is None:
        failed = next((item for item in snapshot.trials if item.reason), None)
        if failed:
            raise ByocError(
                f"No trial of {name} completed. {failed.name} failed: {failed.reason}",
                f"`byoc logs {failed.name}` shows what it said.",
                code=FAILED,
                kind="NoBestTrial",
            )
        raise ByocError(
            f"{name} has no completed trial {'' if snapshot.ended else 'yet '}(it is {snapshot.status}).",
            "" if snapshot.ended else f"Wait for it with `byoc best --wait {name}`.",
            code=FAILED,
            kind="NoBestTrial",
        )
    return {
        "tuning_job": name,
        "training_job": trial.name,
        "metric": snapshot.metric,
        "value": trial.objective,
        "hyperparameters": dict(trial.hyperparameters),
        "complete": snapshot.ended,
    }
