"""What a project has in CloudWatch Logs: its jobs' streams in everybody's groups, its endpoints' groups."""

from __future__ import annotations

import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from contract.names import ENDPOINT_LOGS, PROCESSING_LOGS, TRAINING_LOGS, TRANSFORM_LOGS
from report.read import jobs
from report.words import plural
from scripts.aws import ask, unless_gone
from scripts.cleanup.part import Found, Part, seen

if TYPE_CHECKING:
    from scripts.aws import Clients

_THREADS = 8
_STEM = re.compile(r"(.+)-v-\d{4}-\d{6}-\d\d")


def find(
    clients: Clients, training: Collection[str], transform: Collection[str], endpoints: Collection[str]
) -> Found:
    """Streams of these jobs, and groups of these endpoints. The groups of all jobs are everybody's."""
    looks = (
        lambda: _streams(clients, TRAINING_LOGS, training),
        lambda: _streams(clients, TRANSFORM_LOGS, transform),
        lambda: _streams(clients, PROCESSING_LOGS, _evaluators(clients, training)),
        lambda: _groups(clients, endpoints),
    )
    return sum((seen(look, "logs", "CloudWatch Logs") for look in looks), Found())


def endpoint_of(config: str) -> str:
    """The endpoint that byoc made a configuration for, by its name; empty where it is not such a name."""
    match = _STEM.fullmatch(config)
    return match[1] if match else ""


def _exists(clients: Clients, group: str) -> bool:
    pages = clients.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=group)
    return any(each["logGroupName"] == group for page in pages for each in page["logGroups"])


def _evaluators(clients: Clients, training: Collection[str]) -> list[str]:
    """The processing jobs that AWS's Debugger started beside trainings (`debugger.service = "sagemaker"`)."""
    if not training or not _exists(clients, PROCESSING_LOGS):
        return []
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        described = pool.map(lambda name: jobs.find(clients, name) or {}, training)
    return [
        status["RuleEvaluationJobArn"].rpartition("/")[2]
        for job in described
        for kind in ("DebugRuleEvaluationStatuses", "ProfilerRuleEvaluationStatuses")
        for status in job.get(kind, ())
        if "RuleEvaluationJobArn" in status
    ]


def _streams(clients: Clients, group: str, jobs: Collection[str]) -> Found:
    """One part for the streams of all jobs: there are one or more for each."""
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        listed = pool.map(lambda job: _streams_of(clients, group, job), jobs)
    names = [name for streams in listed for name in streams]
    if not names:
        return Found()

    def remove() -> None:
        for name in names:
            unless_gone(clients.logs.delete_log_stream, logGroupName=group, logStreamName=name)

    return Found([Part("logs", group, remove, plural(len(names), "stream"))])


def _streams_of(clients: Clients, group: str, job: str) -> list[str]:
    """`JOB/algo-1-…`: with the slash, as another job's name may begin with this one's."""
    pages = clients.logs.get_paginator("describe_log_streams").paginate(
        logGroupName=group, logStreamNamePrefix=f"{job}/"
    )
    return [
        stream["logStreamName"]
        for page in ask(lambda: list(pages), "ResourceNotFoundException") or ()
        for stream in page["logStreams"]
    ]


def _groups(clients: Clients, endpoints: Collection[str]) -> Found:
    parts = []
    for endpoint in sorted(set(endpoints)):
        group = f"{ENDPOINT_LOGS}/{endpoint}"
        if not _exists(clients, group):
            continue
        remove = partial(unless_gone, clients.logs.delete_log_group, logGroupName=group)
        parts.append(Part("logs", group, remove))
    return Found(parts)
