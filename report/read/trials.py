"""Trials of a tuning job: what each tried, and how far it came."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contract.findings import Findings
from report import words
from report.read.values import mapping, number


@dataclass(frozen=True)
class Progress:
    """How far a running trial is.

    Attributes:
        epoch, epochs: finished ones, and how many there will be.
        latest: the objective after the last epoch; NaN before there is one.
        seconds: since it began to train.
        until_epoch: seconds from there to the end of the last epoch.
    """

    epoch: int
    epochs: int
    latest: float
    seconds: float
    until_epoch: float

    @property
    def seconds_left(self) -> float:
        """The mean time of an epoch so far, times all of them, less what has passed; never below 0."""
        return max(0.0, self.until_epoch / self.epoch * self.epochs - self.seconds)


@dataclass(frozen=True)
class Trial:
    """One training job of a tuning job.

    Attributes:
        number: its place in the order of creation, from 1.
        objective: NaN where it has reported none.
        hyperparameters: the tuned ones only, as SageMaker was given them.
        start, end: when it began to train (or, before that, was created), and when it ended.
        reason: why it failed.
        findings: what its log says of the rules, where that was read.
        progress: of one that runs, where its metrics show it.
    """

    name: str
    number: int
    status: str
    objective: float
    hyperparameters: Mapping[str, str]
    start: datetime | None = None
    end: datetime | None = None
    reason: str = ""
    findings: Findings | None = None
    progress: Progress | None = None

    @property
    def seconds(self) -> float | None:
        return words.seconds_between(self.start, self.end)

    @property
    def tuned(self) -> dict[str, str]:
        """The hyperparameters as a person writes them: SageMaker's SDK puts text in quotes."""
        return {key: value.strip('"') for key, value in self.hyperparameters.items()}

    def as_dict(self) -> dict[str, Any]:
        """For the JSON document of a command."""
        return {
            "name": self.name,
            "status": self.status,
            "hyperparameters": dict(self.hyperparameters),
            "objective": None if math.isnan(self.objective) else self.objective,
            "reason": self.reason,
            "seconds": self.seconds,
            "epoch": self.progress.epoch if self.progress else None,
        }


def parse_trial(summary: Mapping[str, Any], place: int) -> Trial:
    """An item of ListTrainingJobsForHyperParameterTuningJob, at that place in the list (from 1)."""
    objective = mapping(summary.get("FinalHyperParameterTuningJobObjectiveMetric"))
    start = summary.get("TrainingStartTime") or summary.get("CreationTime")
    end = summary.get("TrainingEndTime")
    tuned = mapping(summary.get("TunedHyperParameters"))
    return Trial(
        name=str(summary.get("TrainingJobName", "")),
        number=place,
        status=str(summary.get("TrainingJobStatus", "")),
        objective=number(objective.get("Value")),
        hyperparameters={str(key): str(value) for key, value in sorted(tuned.items())},
        start=start if isinstance(start, datetime) else None,
        end=end if isinstance(end, datetime) else None,
        reason=str(summary.get("FailureReason") or ""),
    )
