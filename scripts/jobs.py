"""Jobs from the outside: training jobs watched until they end, logs as they grow, any job stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from scripts.account import split_uri
from scripts.errors import FAILED, NOT_FOUND, ByocError

if TYPE_CHECKING:
    from scripts.aws import Clients

ENDED = frozenset({"Completed", "Failed", "Stopped"})
RULE_ENDED = frozenset({"NoIssuesFound", "IssuesFound", "CouldNotJudge", "DoesNotApply", "Error", "Stopped"})
TRAINING_LOGS = "/aws/sagemaker/TrainingJobs"
ENDPOINT_LOGS = "/aws/sagemaker/Endpoints"
TRANSFORM_LOGS = "/aws/sagemaker/TransformJobs"
# A rule that had too little to judge is an Error in SageMaker's words, and its details begin like this.
COULD_NOT_JUDGE = "ClientError: Could not judge: "
# And one that does not concern the job is NoIssuesFound, and its details end like this.
DOES_NOT_APPLY = "does not apply."
_RULES_PATIENCE = 120.0  # seconds that rules may go on after the job


class Pace:
    """Waiting between two looks: short while something happens, longer while nothing does."""

    def __init__(self, shortest: float = 0.3, longest: float = 3.0) -> None:
        self._shortest, self._longest, self._next = shortest, longest, shortest

    def wait(self, *, news: bool = False) -> None:
        self._next = self._shortest if news else min(self._next * 1.4, self._longest)
        time.sleep(self._next)


@dataclass
class LogTail:
    """New lines of all log streams whose name begins with `prefix`, if any; a missing group has none.

    With `since` (epoch milliseconds), lines from then on; and only those of the streams that have begun
    since, if any have: they are of new machines.
    """

    clients: Clients
    group: str
    prefix: str
    since: int = 0
    _tokens: dict[str, str] = field(default_factory=dict)

    def read(self) -> Iterator[str]:
        """The lines that came since the last call."""
        logs = self.clients.logs
        narrow: Any = {"logStreamNamePrefix": self.prefix} if self.prefix else {}
        try:
            pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=self.group, **narrow)
            found = [item for page in pages for item in page["logStreams"]]
        except logs.exceptions.ResourceNotFoundException:
            return
        new = [item for item in found if item.get("creationTime", 0) >= self.since]
        streams = sorted(item["logStreamName"] for item in new or found)
        for stream in streams:
            yield from self._read(stream, many=len(streams) > 1)

    def _read(self, stream: str, many: bool) -> Iterator[str]:
        host = f"[{stream.rpartition('/')[2].rsplit('-', 1)[0]}] " if many else ""
        while True:
            more: Any = {"nextToken": self._tokens[stream]} if stream in self._tokens else {}
            if self.since:
                more["startTime"] = self.since
            page = self.clients.logs.get_log_events(
                logGroupName=self.group, logStreamName=stream, startFromHead=True, **more
            )
            for event in page["events"]:
                yield host + event["message"].rstrip("\n")
            token = page["nextForwardToken"]
            if token == self._tokens.get(stream) or not page["events"]:
                self._tokens[stream] = token
                return
            self._tokens[stream] = token


@dataclass(frozen=True)
class Event:
    """Something that happened to a job: a secondary status, a log line, a rule's verdict; or a look at it."""

    kind: Literal["status", "line", "rule", "look"]
    text: str = ""
    detail: str = ""


def describe(clients: Clients, name: str) -> dict[str, Any]:
    """DescribeTrainingJob, with our word for a job that does not exist."""
    from botocore.exceptions import ClientError

    try:
        return dict(clients.sagemaker.describe_training_job(TrainingJobName=name))
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"ValidationException", "ResourceNotFound"}:
            raise
        raise ByocError(
            f"There is no training job {name}.",
            "`byoc jobs` lists what there is.",
            code=NOT_FOUND,
            kind="NoJob",
        ) from None


def follow(clients: Clients, name: str, *, looks: bool = False) -> Iterator[Event]:
    """What happens to a training job, as it happens, until it has ended and its rules have their verdicts.

    Args:
        looks: tell each look at the job too, also where nothing has happened.
    """
    tail = LogTail(clients, TRAINING_LOGS, f"{name}/")
    shown = 0
    known: dict[str, str] = {}
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
        for rule in rules(job):
            before, now = known.get(rule["RuleConfigurationName"]), verdict(rule)
            if now != before and now != "InProgress":
                yield Event("rule", rule["RuleConfigurationName"], now)
                news = True
            known[rule["RuleConfigurationName"]] = now
        if job["TrainingJobStatus"] in ENDED:
            ended_at = ended_at or time.monotonic()
            if set(known.values()) <= RULE_ENDED or time.monotonic() - ended_at > _RULES_PATIENCE:
                for line in tail.read():
                    yield Event("line", line)
                return
        if looks:
            yield Event("look")
        pace.wait(news=news)


def rules(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Debugger's and profiler's rule statuses of a described job."""
    return [*job.get("DebugRuleEvaluationStatuses", []), *job.get("ProfilerRuleEvaluationStatuses", [])]


def verdict(rule: Mapping[str, Any]) -> str:
    """A rule's RuleEvaluationStatus, or CouldNotJudge or DoesNotApply, which SageMaker has no status for."""
    status, details = str(rule["RuleEvaluationStatus"]), rule.get("StatusDetails", "")
    if details.startswith(COULD_NOT_JUDGE):
        return "CouldNotJudge"
    return "DoesNotApply" if status == "NoIssuesFound" and details.endswith(DOES_NOT_APPLY) else status


def not_applying(details: list[str]) -> str:
    """How many rules do not concern a job whose details these are: `3 do not apply without a GPU`."""
    verb = "does" if len(details) == 1 else "do"
    without = sum("without a GPU" in text for text in details)
    why = " without a GPU" if without == len(details) else f" ({without} without a GPU)" if without else ""
    return f"{len(details)} {verb} not apply{why}"


def evidence(details: str) -> str:
    """A rule's StatusDetails without what the verdict says already."""
    reason = details.removeprefix(COULD_NOT_JUDGE)
    return reason if reason == details else reason[:1].upper() + reason[1:]


def verdicts(job: dict[str, Any]) -> dict[str, str]:
    """The verdicts of a described job's rules, by their names."""
    return {rule["RuleConfigurationName"]: verdict(rule) for rule in rules(job)}


def metrics(job: dict[str, Any]) -> dict[str, float]:
    """The last value of each metric, as SageMaker read it from the log."""
    return {item["MetricName"]: float(item["Value"]) for item in job.get("FinalMetricDataList", [])}


def failure(name: str, job: dict[str, Any]) -> ByocError:
    """The error of a job of any kind that has failed, with its own reason."""
    reason = job.get("FailureReason", "no reason given").strip()
    again = (
        _or_resume(name, job) if "a job can go on" in reason else ""
    )  # the trainer's words, where it helps
    remedy = f"`byoc logs {name}` shows what it said{again}."
    return ByocError(f"{name} failed: {reason}", remedy, code=FAILED, kind="JobFailed")


def _or_resume(name: str, job: dict[str, Any]) -> str:
    return (
        f", or go on from its checkpoints (`byoc train --resume {name}`)" if "CheckpointConfig" in job else ""
    )


@dataclass(frozen=True)
class Resumed:
    """What a training job leaves to one that goes on from its checkpoints."""

    checkpoints: str
    hyperparameters: dict[str, str]


def resumed(clients: Clients, name: str) -> Resumed:
    """What to go on with after the training job of that name; an error where it kept nothing."""
    job = describe(clients, name)
    if job["TrainingJobStatus"] in ("InProgress", "Stopping"):
        raise ByocError(f"{name} is still {job['TrainingJobStatus']}.", f"`byoc logs -f {name}` follows it.")
    if job["TrainingJobStatus"] == "Completed":
        raise ByocError(f"{name} completed: there is nothing to go on with.", "`byoc train` trains anew.")
    uri = job.get("CheckpointConfig", {}).get("S3Uri", "")
    if not uri:
        raise ByocError(
            f"{name} kept no checkpoints in S3.",
            "Jobs do with `train.checkpoints = true` in byoc.toml, or on spot capacity (--spot).",
        )
    bucket, prefix = split_uri(uri.rstrip("/") + "/")
    if not clients.s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("KeyCount"):
        raise ByocError(
            f"{name} wrote no checkpoint to {uri} before it ended.",
            "Train anew; checkpoint_every_minutes and checkpoint_every_steps say how often one is written.",
            code=NOT_FOUND,
        )
    given = job.get("HyperParameters", {})
    return Resumed(uri, {key: value for key, value in given.items() if not key.startswith("sagemaker_")})


def require_completed(job: dict[str, Any]) -> None:
    """An error with the job's own reason, unless it completed."""
    status, name = job["TrainingJobStatus"], job["TrainingJobName"]
    if status == "Completed":
        return
    if status == "Failed":
        raise failure(name, job)
    if status == "Stopped":
        why = job.get("SecondaryStatus", "Stopped")
        raise ByocError(
            f"{name} was stopped ({why}).",
            f"Train again{_or_resume(name, job)}, or name a job that completed: `byoc jobs` lists them.",
            code=FAILED,
            kind="JobStopped",
        )
    raise ByocError(
        f"{name} is still {status}.", f"`byoc logs -f {name}` follows it.", code=FAILED, kind="JobRunning"
    )


def stop(clients: Clients, name: str) -> str:
    """Ask a job to stop; returns what kind it is. One that has ended is no error."""
    from botocore.exceptions import ClientError

    attempts: list[tuple[str, Callable[[], object]]] = [
        ("training job", lambda: clients.sagemaker.stop_training_job(TrainingJobName=name)),
        (
            "tuning job",
            lambda: clients.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name),
        ),
        ("transform job", lambda: clients.sagemaker.stop_transform_job(TransformJobName=name)),
    ]
    for kind, send in attempts:
        try:
            send()
        except ClientError as error:
            code, text = error.response["Error"]["Code"], error.response["Error"]["Message"].lower()
            missing = code in {"ResourceNotFound", "UnknownOperationException", "UnknownOperation"}
            if missing or (code == "ValidationException" and ("not find" in text or "not found" in text)):
                continue
            if code == "ValidationException":  # it has ended already
                return kind
            raise
        return kind
    raise ByocError(
        f"There is no job {name}.", "`byoc jobs` lists what there is.", code=NOT_FOUND, kind="NoJob"
    )
