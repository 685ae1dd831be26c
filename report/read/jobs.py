"""Training jobs: described, watched until they end, and what they leave to those that come after."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from contract import s3
from contract.errors import FAILED, NOT_FOUND, ByocError
from contract.names import TRAINING_LOGS
from report.read import aws
from report.read.aws import Clients
from report.read.logs import LogTail
from report.read.pace import Pace

# From every other status nothing comes by itself: Deleting and DeleteFailed are ends, too.
UNDER_WAY = frozenset({"InProgress", "Stopping"})
RULE_ENDED = frozenset({"NoIssuesFound", "IssuesFound", "Error", "Stopped"})
_RULES_PATIENCE = 120.0  # seconds that rules may go on after the job


@dataclass(frozen=True)
class Event:
    """Something that happened to a job: a secondary status, a log line, a rule's status; or a look at it."""

    kind: Literal["status", "line", "rule", "look"]
    text: str = ""
    detail: str = ""


def describe(clients: Clients, name: str) -> dict[str, Any]:
    """DescribeTrainingJob; an error where there is no such job."""
    return aws.describe("training job", name, lambda: _ask(clients, name))


def find(clients: Clients, name: str) -> dict[str, Any] | None:
    """The training job, if there is one."""
    return aws.find(lambda: _ask(clients, name))


def _ask(clients: Clients, name: str) -> Mapping[str, Any]:
    return clients.sagemaker.describe_training_job(TrainingJobName=name)


def follow(clients: Clients, name: str) -> Iterator[Event]:
    """What happens to a training job, as it happens, until it has ended, and its rules on AWS's instances."""
    tail = LogTail(clients, TRAINING_LOGS, f"{name}/")
    shown = 0
    statuses: dict[str, str] = {}
    pace, ended_at = Pace(), 0.0
    while True:
        job = describe(clients, name)
        news = False
        transitions = job.get("SecondaryStatusTransitions", [])
        for transition in transitions[shown:]:
            yield Event("status", transition["Status"], transition.get("StatusMessage", ""))
            news = True
        shown = max(shown, len(transitions))
        for line in tail.read():
            yield Event("line", line)
            news = True
        for rule, status in rule_statuses(job).items():
            if status not in (statuses.get(rule), "InProgress"):
                yield Event("rule", rule, status)
                news = True
            statuses[rule] = status
        if job["TrainingJobStatus"] not in UNDER_WAY:
            ended_at = ended_at or time.monotonic()
            if set(statuses.values()) <= RULE_ENDED or time.monotonic() - ended_at > _RULES_PATIENCE:
                for line in tail.rest():
                    yield Event("line", line)
                return
        pace.wait(news=news)


def rule_statuses(job: Mapping[str, Any]) -> dict[str, str]:
    """RuleEvaluationStatus of a described job's rules on AWS's instances; by default there are none."""
    listed = [*job.get("DebugRuleEvaluationStatuses", []), *job.get("ProfilerRuleEvaluationStatuses", [])]
    return {rule["RuleConfigurationName"]: str(rule["RuleEvaluationStatus"]) for rule in listed}


def metrics(job: Mapping[str, Any]) -> dict[str, float]:
    """The last value of each metric, as SageMaker read it from the log."""
    return {item["MetricName"]: float(item["Value"]) for item in job.get("FinalMetricDataList", [])}


def failure(name: str, job: Mapping[str, Any], advice: str = "") -> ByocError:
    """The error of a job of any kind that has failed, with its own reason."""
    reason = job.get("FailureReason", "no reason given").strip()
    remedy = f"`byoc logs {name}` shows what it said{advice}."
    return ByocError(f"{name} failed: {reason}", remedy, code=FAILED, kind="JobFailed")


def _or_resume(clients: Clients, job: Mapping[str, Any]) -> str:
    """Advice to go on with a training job, where it left something to go on from."""
    if not _checkpoint_uri(clients, job):
        return ""
    return f", or go on from its checkpoints (`byoc train --resume {job['TrainingJobName']}`)"


def _checkpoint_uri(clients: Clients, job: Mapping[str, Any]) -> str:
    """Where a described job's checkpoints lie; "" where there are none.

    A trial's lie in a folder of its name, and those of trials of earlier versions beside each other.
    """
    uri = job.get("CheckpointConfig", {}).get("S3Uri", "").rstrip("/")
    for folder in (f"{uri}/{job['TrainingJobName']}", uri) if uri else ():
        bucket, prefix = s3.split(f"{folder}/")
        # What lies in the folders of other trials does not count.
        page = clients.s3.list_objects_v2(Bucket=bucket, Prefix=prefix, Delimiter="/")
        if page.get("Contents"):
            return folder
    return ""


@dataclass(frozen=True)
class Resumed:
    """What a training job leaves to one that goes on from its checkpoints."""

    checkpoints: str
    hyperparameters: dict[str, str]


def resumed(clients: Clients, name: str) -> Resumed:
    """What to go on with after the training job of that name; an error where it kept nothing."""
    job = describe(clients, name)
    if job["TrainingJobStatus"] in UNDER_WAY:
        raise ByocError(f"{name} is still {job['TrainingJobStatus']}.", f"`byoc watch {name}` follows it.")
    if job["TrainingJobStatus"] == "Completed":
        raise ByocError(f"{name} completed: there is nothing to go on with.", "`byoc train` trains anew.")
    uri = job.get("CheckpointConfig", {}).get("S3Uri", "")
    if not uri:
        raise ByocError(
            f"{name} kept no checkpoints in S3.",
            "Jobs do with `train.checkpoints = true` in byoc.toml, or on spot capacity (--spot).",
        )
    checkpoints = _checkpoint_uri(clients, job)
    if not checkpoints:
        raise ByocError(
            f"{name} wrote no checkpoint to {uri} before it ended.",
            "Train anew; checkpoint_every_minutes and checkpoint_every_steps say how often one is written.",
            code=NOT_FOUND,
        )
    hyperparameters = job.get("HyperParameters", {})
    own = {
        key: value for key, value in hyperparameters.items() if not key.startswith(("sagemaker_", "_tuning_"))
    }
    return Resumed(checkpoints, own)


def require_completed(clients: Clients, job: Mapping[str, Any]) -> None:
    """An error with the job's own reason, unless it completed."""
    status, name = job["TrainingJobStatus"], job["TrainingJobName"]
    if status == "Completed":
        return
    if status == "Failed":
        raise failure(name, job, _or_resume(clients, job))
    if status == "Stopped":
        why, epoch = job.get("SecondaryStatus", "Stopped"), kept_epoch(job)
        deploy = f"`byoc deploy {name}` takes its model, with the weights of epoch {epoch}. " if epoch else ""
        raise ByocError(
            f"{name} was stopped ({why}).",
            f"{deploy}Train again{_or_resume(clients, job)}, or name a job that completed: `byoc jobs` lists "
            "them.",
            code=FAILED,
            kind="JobStopped",
        )
    raise ByocError(
        f"{name} is still {status}.", f"`byoc watch {name}` follows it.", code=FAILED, kind="JobRunning"
    )


def keeps_model(job: Mapping[str, Any]) -> bool:
    """Whether the trainer left its weights: a job may leave none (`save_model = false`)."""
    return str(job.get("HyperParameters", {}).get("save_model", "true")).lower() not in ("false", "0")


def kept_epoch(job: Mapping[str, Any]) -> int | None:
    """The epoch whose weights the model has. None for a job that finished no epoch, or kept no model."""
    epoch = metrics(job).get("kept_epoch")
    return int(epoch) if epoch and keeps_model(job) and job.get("ModelArtifacts") else None


def artifact(clients: Clients, job: Mapping[str, Any]) -> str:
    """S3 address of a job's model.tar.gz. An error unless it completed, or was stopped after its first epoch,
    and where there is no model in it."""
    if job["TrainingJobStatus"] != "Stopped" or not kept_epoch(job):
        require_completed(clients, job)
    if not keeps_model(job):
        raise ByocError(
            f"{job['TrainingJobName']} kept no model: it ran with save_model = false.",
            "`byoc train --best` trains one with the best hyperparameters of a tuning job.",
            kind="NoModel",
        )
    return str(job["ModelArtifacts"]["S3ModelArtifacts"])
