"""A CloudWatch Logs whose streams grow."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError


class Logs:
    """CloudWatch Logs with streams that grow: each call to `grow` adds lines."""

    def __init__(self) -> None:
        self.streams: dict[str, list[str]] = {}
        self.created: dict[str, int] = {}
        self.since = 0
        self.empty = False  # whether a page without events comes before each one with some

    def get_paginator(self, name: str) -> Any:
        return SimpleNamespace(paginate=self._streams)

    def _streams(self, logGroupName: str, logStreamNamePrefix: str) -> Iterator[Any]:
        if not self.streams:
            answer = {"Error": {"Code": "ResourceNotFoundException", "Message": "no log group"}}
            raise ClientError(answer, "DescribeLogStreams")
        names = [name for name in self.streams if name.startswith(logStreamNamePrefix)]
        created = self.created
        yield {
            "logStreams": [{"logStreamName": name, "creationTime": created.get(name, 0)} for name in names]
        }

    def get_log_events(
        self, logStreamName: str, nextToken: str = "f/0", startTime: int = 0, **_: Any
    ) -> dict[str, Any]:
        self.since = startTime
        begin = int(nextToken.split("/")[1])
        lines = self.streams[logStreamName][begin : begin + 2]  # two a page
        if lines and self.empty and not nextToken.endswith("/empty"):
            return {"events": [], "nextForwardToken": f"f/{begin}/empty"}
        return {
            "events": [{"message": line} for line in lines],
            "nextForwardToken": f"f/{begin + len(lines)}",
        }
