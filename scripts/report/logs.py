"""A job's metrics, found in its log lines by the job's own MetricDefinitions, as SageMaker finds them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripts.report.artifacts import Unreadable
from scripts.toolkit import Preamble

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
EVENTS_LIMIT = 200_000
"""Log events that are read at most; a metric that is logged later than that is missing from the report."""
TAIL = 40
LINE_LIMIT = 4_000
"""Characters of a line that are searched: a bound on what a regular expression can cost."""

_STEP = re.compile(r"(?:^|\s)step=(\d{1,12})(?=\s|$)")
_NUMBER = re.compile(r"[-+]?(?:nan|inf(?:inity)?|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)", re.IGNORECASE)


@dataclass
class Metric:
    """One metric over time. `step` and `epoch` are None where the line did not tell them."""

    value: list[float] = field(default_factory=list)
    step: list[int | None] = field(default_factory=list)
    epoch: list[float | None] = field(default_factory=list)

    @property
    def last(self) -> float:
        """What SageMaker takes for the job's; the trainer ends with those of the weights that it kept."""
        return self.value[-1] if self.value else math.nan

    @property
    def last_epoch(self) -> float:
        """The last value whose line told a step or an epoch; the last of all where none did."""
        places = zip(self.value, self.step, self.epoch, strict=True)
        told = [value for value, step, epoch in places if step is not None or epoch is not None]
        return told[-1] if told else self.last


@dataclass
class Log:
    metrics: dict[str, Metric] = field(default_factory=dict)
    tail: list[str] = field(default_factory=list)
    lines: int = 0
    truncated: bool = False


def parse_log(lines: Iterable[str], definitions: Sequence[tuple[str, str]]) -> Log:
    """Read metrics from lines with (name, regular expression) pairs; the first group is the value.

    Raises:
        Unreadable: an expression that Python cannot compile (SageMaker's are Java's); names the metric.
    """
    compiled: list[tuple[str, re.Pattern[str]]] = []
    for name, regex in definitions:
        try:
            compiled.append((name, re.compile(regex)))
        except re.error as error:
            raise Unreadable(f"the regular expression of metric {name!r} cannot be used: {error}") from error
    log, preamble = Log(), Preamble()
    for line in lines:
        log.lines += 1
        log.tail.extend(preamble.take(line))
        del log.tail[:-TAIL]
        found = _metrics_of(line[:LINE_LIMIT], compiled)
        if not found:
            continue
        step = _STEP.search(line[:LINE_LIMIT])
        for name, value in found.items():
            metric = log.metrics.setdefault(name, Metric())
            metric.value.append(value)
            metric.step.append(int(step.group(1)) if step else None)
            metric.epoch.append(found.get("epoch"))
    log.tail.extend(preamble.end())  # where the script never started
    del log.tail[:-TAIL]
    return log


def _metrics_of(line: str, compiled: Sequence[tuple[str, re.Pattern[str]]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, regex in compiled:
        match = regex.search(line)
        if match and match.groups() and match.group(1) and _NUMBER.fullmatch(match.group(1)):
            found[name] = float(match.group(1))
    return found


def read_lines(logs: CloudWatchLogsClient, job: str) -> tuple[list[str], bool]:
    """A training job's lines in the order of its streams (algo-1 first), and whether they were cut off."""
    from botocore.exceptions import BotoCoreError, ClientError

    lines: list[str] = []
    try:
        for stream in _streams(logs, job):
            token: str | None = None
            while True:
                more = {"nextToken": token} if token else {}
                page = logs.get_log_events(
                    logGroupName=LOG_GROUP,
                    logStreamName=stream,
                    startFromHead=True,
                    **more,  # type: ignore[arg-type]
                )
                for event in page["events"]:
                    lines.extend(event["message"].splitlines() or [""])
                if len(lines) >= EVENTS_LIMIT:
                    return lines[:EVENTS_LIMIT], True
                # CloudWatch says "the end" by giving back the same token.
                if page["nextForwardToken"] == token or not page["events"]:
                    break
                token = page["nextForwardToken"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
            return lines, False
        raise Unreadable(f"the log could not be read: {error}") from error
    except BotoCoreError as error:
        raise Unreadable(f"the log could not be read: {error}") from error
    return lines, False


def _streams(logs: CloudWatchLogsClient, job: str) -> list[str]:
    pages = logs.get_paginator("describe_log_streams").paginate(
        logGroupName=LOG_GROUP, logStreamNamePrefix=f"{job}/"
    )
    return sorted(stream["logStreamName"] for page in pages for stream in page["logStreams"])
