"""Tuning jobs: described, watched until they end, and the best of their trials."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from contract.errors import FAILED, ByocError
from report import accuracy, words
from report.read import aws, findings, jobs
from report.read.aws import Clients
from report.read.jobs import UNDER_WAY
from report.read.logs import read_end
from report.read.pace import Pace
from report.read.trials import Progress, Trial, parse_trial
from report.read.values import mapping, sequence

TRIALS_LIMIT: Final = 2_000
LOGS_LIMIT: Final = 50
"""Trials of a job up to which their logs are read: each takes two requests."""


@dataclass(frozen=True)
class TuningJob:
    """A tuning job at one moment: its description by AWS, and its trials in the order of creation."""

    name: str
    described: Mapping[str, Any]
    trials: tuple[Trial, ...] = ()
    truncated: bool = False
    """Whether there are more trials than were read."""
    collected: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def status(self) -> str:
        return str(self.described.get("HyperParameterTuningJobStatus", "unknown"))

    @property
    def ended(self) -> bool:
        return self.status not in UNDER_WAY

    @property
    def reason(self) -> str:
        """Why it failed."""
        return str(self.described.get("FailureReason") or "")

    @property
    def config(self) -> Mapping[str, Any]:
        return mapping(self.described.get("HyperParameterTuningJobConfig"))

    @property
    def definition(self) -> Mapping[str, Any]:
        return mapping(self.described.get("TrainingJobDefinition"))

    @property
    def limits(self) -> Mapping[str, Any]:
        return mapping(self.config.get("ResourceLimits"))

    @property
    def total(self) -> int:
        """How many trials there will be."""
        return int(self.limits.get("MaxNumberOfTrainingJobs", len(self.trials)))

    @property
    def objective(self) -> Mapping[str, Any]:
        single = mapping(self.config.get("HyperParameterTuningJobObjective"))
        return single or mapping(self.definition.get("TuningObjective"))

    @property
    def metric(self) -> str:
        return str(self.objective.get("MetricName", "objective"))

    @property
    def maximise(self) -> bool:
        return str(self.objective.get("Type", "Maximize")) == "Maximize"

    @property
    def winner(self) -> str:
        """Name of the best completed trial, as SageMaker judges; empty where there is none."""
        return str(mapping(self.described.get("BestTrainingJob")).get("TrainingJobName", ""))

    @property
    def stopper(self) -> str:
        """What of SageMaker's may stop trials that do worse than others; empty where nothing does."""
        if self.config.get("Strategy") == "Hyperband":
            return "Hyperband"
        return "early stopping" if self.config.get("TrainingJobEarlyStoppingType") == "Auto" else ""

    @property
    def parents(self) -> tuple[str, ...]:
        """The tuning jobs that a warm start knows."""
        config = mapping(self.described.get("WarmStartConfig"))
        named = sequence(config.get("ParentHyperParameterTuningJobs"))
        return tuple(str(mapping(item).get("HyperParameterTuningJobName")) for item in named)

    @property
    def warm_start(self) -> str:
        """Its kind, as SageMaker calls it; empty without one."""
        return str(mapping(self.described.get("WarmStartConfig")).get("WarmStartType", ""))

    @property
    def inherited(self) -> tuple[str, Trial] | None:
        """The best of all, where it is not one of this tuning job's: the parent and its trial."""
        overall = mapping(self.described.get("OverallBestTrainingJob"))
        parent = str(overall.get("TuningJobName", ""))
        return (parent, parse_trial(overall, 0)) if parent not in ("", self.name) else None

    @property
    def judged(self) -> list[Trial]:
        return [trial for trial in self.trials if math.isfinite(trial.objective)]

    @property
    def best(self) -> Trial | None:
        """The trial with the best objective so far, stopped ones included."""
        return min(self.judged, key=self.rank, default=None)

    def rank(self, trial: Trial) -> float:
        """Smaller is better."""
        return -trial.objective if self.maximise else trial.objective

    def alike(self, pictures: int | None) -> list[Trial]:
        """Trials that so many validation pictures cannot separate from the best, the better ones first.

        Empty where the objective is no share of pictures, or their number is not known.
        """
        counted = self.metric.startswith("validation:") and self.metric.endswith("accuracy")
        first = next((trial for trial in self.judged if trial.name == self.winner), self.best)
        if not counted or not pictures or first is None:
            return []
        near = [
            trial
            for trial in self.judged
            if trial is not first and not accuracy.differ(first.objective, trial.objective, pictures)
        ]
        return sorted(near, key=self.rank)

    def value(self, objective: float) -> str:
        """The objective for a person: a share as percent."""
        share = "accuracy" in self.metric or "f1" in self.metric or "top" in self.metric
        return words.percent(objective, 2) if share and 0 <= objective <= 1 else words.number(objective, 4)


def look(clients: Clients, name: str) -> TuningJob:
    """The tuning job as it is now.

    Raises:
        ByocError: there is none (NOT_FOUND).
    """
    described = describe(clients, name)
    pages = clients.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name, SortBy="CreationTime", SortOrder="Ascending"
    )
    trials: list[Trial] = []
    for summary in (summary for page in pages for summary in page["TrainingJobSummaries"]):
        if len(trials) == TRIALS_LIMIT:
            return TuningJob(name, described, tuple(trials), truncated=True)
        trials.append(parse_trial(dict(summary), len(trials) + 1))
    return TuningJob(name, described, tuple(trials))


def with_progress(clients: Clients, job: TuningJob) -> TuningJob:
    """The same with how far each running trial is: a request for each."""
    trials = (
        replace(trial, progress=_progress(clients, trial, job.metric))
        if trial.status == "InProgress"
        else trial
        for trial in job.trials
    )
    return replace(job, trials=tuple(trials))


def _progress(clients: Clients, trial: Trial, metric: str) -> Progress | None:
    job = jobs.describe(clients, trial.name)
    values, epochs = jobs.metrics(job), job.get("HyperParameters", {}).get("epochs", "").strip('"')
    begin = job.get("TrainingStartTime")
    times = {item["MetricName"]: item.get("Timestamp") for item in job.get("FinalMetricDataList", [])}
    finished = times.get("epoch")
    if begin is None or finished is None or not epochs.isdecimal() or values["epoch"] < 1:
        return None
    seconds, until = ((moment - begin).total_seconds() for moment in (datetime.now(UTC), finished))
    return Progress(int(values["epoch"]), int(epochs), values.get(metric, math.nan), seconds, until)


def pictures(clients: Clients, job: TuningJob) -> int | None:
    """How many pictures validated each trial, as the best one says."""
    if not job.winner:
        return None
    count = jobs.metrics(jobs.describe(clients, job.winner)).get("validation:pictures")
    return int(count) if count else None


def describe(clients: Clients, name: str) -> dict[str, Any]:
    """DescribeHyperParameterTuningJob; an error where there is no such job."""
    return aws.describe("tuning job", name, lambda: _ask(clients, name))


def find(clients: Clients, name: str) -> dict[str, Any] | None:
    """The tuning job, if there is one."""
    return aws.find(lambda: _ask(clients, name))


def _ask(clients: Clients, name: str) -> Mapping[str, Any]:
    return clients.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def with_findings(clients: Clients, job: TuningJob) -> TuningJob:
    """The same with what the rules said of each trial that has ended, unless there are too many trials."""
    if len(job.trials) > LOGS_LIMIT:
        return job
    trials = (
        replace(trial, findings=findings.of_lines(read_end(clients, trial.name)))
        if trial.status not in UNDER_WAY
        else trial
        for trial in job.trials
    )
    return replace(job, trials=tuple(trials))


def follow(clients: Clients, name: str) -> Iterator[TuningJob]:
    """Looks at the tuning job until it has ended; the last one is final."""
    pace, before = Pace(longest=5.0), ""
    while True:
        now = with_progress(clients, look(clients, name))
        yield now
        if now.ended:
            return
        # As text, since an objective that is not there yet is NaN, which does not equal itself.
        state = repr((now.status, now.winner, [(trial.status, trial.objective) for trial in now.trials]))
        pace.wait(news=state != before)
        before = state


def with_result(clients: Clients, last: str, project: str) -> str:
    """The tuning job to take where none is named: the last, or the project's newest that has a best trial.

    Args:
        last: the one that was started last; it is returned where no other has a result either.
    """
    if TuningJob(last, describe(clients, last)).winner:
        return last
    prefix = f"{project}-tune"[:_LONGEST_PREFIX].rstrip("-")
    pages = clients.sagemaker.get_paginator("list_hyper_parameter_tuning_jobs").paginate(
        NameContains=prefix, SortBy="CreationTime", SortOrder="Descending"
    )
    names = (item["HyperParameterTuningJobName"] for page in pages for item in page[_SUMMARIES])
    # NameContains matches in the middle of a name too: that may be another project's.
    own = (name for name in names if name.startswith(f"{prefix}-") and name != last)
    for name in islice(own, 20):
        if TuningJob(name, find(clients, name) or {}).winner:
            return name
    return last


_SUMMARIES: Final = "HyperParameterTuningJobSummaries"
_LONGEST_PREFIX: Final = 17
"""Characters of a tuning job's name before its time: it has 32 at most."""


def best(clients: Clients, name: str) -> dict[str, Any]:
    """The best training job, its objective and its tuned hyperparameters, as SageMaker judges.

    Raises:
        ByocError: no trial has completed.
    """
    job = look(clients, name)
    trial = next((item for item in job.trials if item.name == job.winner), None)
    if trial is None:
        failed = next((item for item in job.trials if item.reason), None)
        if failed:
            raise ByocError(
                f"No trial of {name} completed. {failed.name} failed: {failed.reason}",
                f"`byoc logs {failed.name}` shows what it said.",
                code=FAILED,
                kind="NoBestTrial",
            )
        raise ByocError(
            f"{name} has no completed trial {'' if job.ended else 'yet '}(it is {job.status}).",
            "" if job.ended else f"Wait for it with `byoc watch {name}`.",
            code=FAILED,
            kind="NoBestTrial",
        )
    return {
        "tuning_job": name,
        "training_job": trial.name,
        "metric": job.metric,
        "value": trial.objective,
        "hyperparameters": dict(trial.hyperparameters),
        "complete": job.ended,
    }
