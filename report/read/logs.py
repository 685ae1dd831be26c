"""Logs in CloudWatch: as they grow, as a whole, and their ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from contract.names import TRAINING_LOGS
from report.read.artifacts import Unreadable
from report.read.aws import Clients
from report.read.pace import Pace

if TYPE_CHECKING:
    from mypy_boto3_logs.type_defs import LogStreamTypeDef

LINES_LIMIT = 200_000
"""Lines of a log that a report reads at most; a metric that is logged later is missing from it."""
END = 300
"""Events at the end of a log that hold the verdicts, and a rule's stop shortly before them."""


@dataclass
class LogTail:
    """New lines of all log streams whose name begins with `prefix`, if any; a missing group has none.

    Attributes:
        since: epoch milliseconds. Only lines from then on; and only those of the streams that have begun
            since, if any have: they are of new machines.
        mark_hosts: lines of several hosts begin with their host: `[algo-1] `.
    """

    clients: Clients
    group: str
    prefix: str
    since: int = 0
    mark_hosts: bool = True
    _tokens: dict[str, str] = field(default_factory=dict)

    def read(self) -> Iterator[str]:
        """The lines that came since the last call, stream by stream."""
        streams = _streams(self.clients, self.group, self.prefix)
        new = [stream for stream in streams if stream.get("creationTime", 0) >= self.since]
        names = sorted(stream["logStreamName"] for stream in new or streams)
        for name in names:
            # A host that was started again has several streams.
            host = f"[{_host(name)}] " if self.mark_hosts and len(set(map(_host, names))) > 1 else ""
            for line in self._new_lines(name):
                yield host + line

    def rest(self) -> Iterator[str]:
        """The last lines of what has ended: CloudWatch takes some seconds to show them."""
        deadline, pace = time.monotonic() + self.clients.log_lag, Pace(shortest=1.0)
        while True:
            over = time.monotonic() >= deadline
            yield from self.read()
            if over:
                return
            pace.wait()

    def _new_lines(self, stream: str) -> Iterator[str]:
        while True:
            more: Any = {"nextToken": self._tokens[stream]} if stream in self._tokens else {}
            if self.since:
                more["startTime"] = self.since
            page = self.clients.logs.get_log_events(
                logGroupName=self.group, logStreamName=stream, startFromHead=True, **more
            )
            for event in page["events"]:
                yield from event["message"].splitlines() or [""]
            # The end is where CloudWatch gives back the token that it was given; a page may be empty before.
            token, before = page["nextForwardToken"], self._tokens.get(stream)
            self._tokens[stream] = token
            if token == before:
                return


def read_lines(clients: Clients, job: str) -> tuple[list[str], bool]:
    """A training job's lines in the order of its streams (algo-1 first), and whether they were cut off.

    Raises:
        Unreadable: CloudWatch refuses.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    tail = LogTail(clients, TRAINING_LOGS, f"{job}/", mark_hosts=False)
    try:
        lines = list(islice(tail.read(), LINES_LIMIT + 1))
    except (ClientError, BotoCoreError) as error:
        raise Unreadable(f"the log could not be read: {error}") from error
    return lines[:LINES_LIMIT], len(lines) > LINES_LIMIT


def read_end(clients: Clients, job: str, events: int = END) -> list[str]:
    """The last lines of a training job's first host; none where they cannot be read."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        names = [stream["logStreamName"] for stream in _streams(clients, TRAINING_LOGS, f"{job}/")]
        first = min(map(_host, names))
        # Of a host that was started again the later stream counts.
        name = max(name for name in names if _host(name) == first)
        more: Any = {}
        while True:
            page = clients.logs.get_log_events(
                logGroupName=TRAINING_LOGS, logStreamName=name, startFromHead=False, limit=events, **more
            )
            # A page may be empty before the stream is at its beginning, which gives back the same token.
            token = page["nextBackwardToken"]
            if page["events"] or more.get("nextToken") == token:
                break
            more = {"nextToken": token}
    except (ClientError, BotoCoreError, ValueError):
        return []
    return [line for event in page["events"] for line in event["message"].splitlines()]


def _streams(clients: Clients, group: str, prefix: str) -> list[LogStreamTypeDef]:
    from botocore.exceptions import ClientError

    narrow: Any = {"logStreamNamePrefix": prefix} if prefix else {}
    pages = clients.logs.get_paginator("describe_log_streams").paginate(logGroupName=group, **narrow)
    try:
        return [stream for page in pages for stream in page["logStreams"]]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
            raise
        return []  # no container has written anything yet


def _host(stream: str) -> str:
    """`algo-1` for `job/algo-1-1733000000`."""
    return stream.rpartition("/")[2].rpartition("-")[0]
