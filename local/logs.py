"""CloudWatch Logs, as far as it reads: the operations that show what jobs and endpoints printed."""

from __future__ import annotations

import hashlib
import heapq
import re
import shutil
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import Any, TypeVar

from contract.patterns import PatternError, compile_pattern
from local import logstreams, pagetokens
from local.config import Config
from local.errors import InvalidParameterException, ResourceNotFoundException
from local.logstreams import PAGE_BYTES, Event, Stream

Request = dict[str, Any]
Item = TypeVar("Item")

_MOST_LISTED = 50
_MOST_EVENTS = 10_000
_EVENT_OVERHEAD = 26  # bytes that CloudWatch counts for an event beside its text


class Logs:
    def __init__(self, config: Config) -> None:
        self._config = config

    def DescribeLogGroups(self, request: Request) -> dict[str, Any]:
        prefix = request.get("logGroupNamePrefix", "")
        pattern = f"*{request.get('logGroupNamePattern', '')}*".lower()
        names = [
            name
            for name in logstreams.groups(self._config)
            if name.startswith(prefix) and fnmatchcase(name.lower(), pattern)
        ]
        shown, token = _page(names, request, lambda name: name)
        return {"logGroups": [_group(self._config, name) for name in shown], "nextToken": token}

    def DescribeLogStreams(self, request: Request) -> dict[str, Any]:
        group, streams = _streams(self._config, request)
        prefix = request.get("logStreamNamePrefix")
        by_time = request.get("orderBy") == "LastEventTime"
        if prefix is not None and by_time:
            raise InvalidParameterException("Cannot order by LastEventTime with a logStreamNamePrefix.")
        streams_shown = [
            _stream(self._config, group, each) for each in streams if each.name.startswith(prefix or "")
        ]
        if by_time:
            streams_shown.sort(key=lambda each: each.get("lastEventTimestamp", 0))
        if request.get("descending"):
            streams_shown.reverse()
        shown, token = _page(streams_shown, request, lambda each: str(each["logStreamName"]))
        return {"logStreams": shown, "nextToken": token}

    def DeleteLogStream(self, request: Request) -> None:
        _, streams = _streams(self._config, request)
        name = request["logStreamName"]
        stream = next((each for each in streams if each.name == name), None)
        if stream is None:
            raise ResourceNotFoundException("The specified log stream does not exist.")
        stream.path.unlink(missing_ok=True)

    def DeleteLogGroup(self, request: Request) -> None:
        """With all of its streams; what still writes one makes the group anew, as on AWS."""
        group, _ = _streams(self._config, request)
        shutil.rmtree(self._config.log_folder(group))

    def GetLogEvents(self, request: Request) -> dict[str, Any]:
        _, streams = _streams(self._config, request)
        name = request["logStreamName"]
        stream = next((each for each in streams if each.name == name), None)
        if stream is None:
            raise ResourceNotFoundException(f"The specified log stream does not exist: {name}.")
        events, start, end = _read(stream, request)
        return {
            "events": [
                {"timestamp": event.time, "message": event.text, "ingestionTime": event.time}
                for event in events
            ],
            "nextForwardToken": f"f/{end:056d}/s",
            "nextBackwardToken": f"b/{start:056d}/s",
        }

    def FilterLogEvents(self, request: Request) -> dict[str, Any]:
        _, streams = _streams(self._config, request)
        chosen = request.get("logStreamNames")
        prefix = request.get("logStreamNamePrefix", "")
        if chosen is not None and prefix:
            raise InvalidParameterException("Give either logStreamNames or logStreamNamePrefix.")
        streams = [
            each
            for each in streams
            if each.name.startswith(prefix) and (chosen is None or each.name in chosen)
        ]
        events, token = _filter(streams, request)
        return {"events": events, "searchedLogStreams": [], "nextToken": token}


# --- groups and streams -----------------------------------------------------------------------------


def _group_name(config: Config, request: Request) -> str:
    name = request.get("logGroupName") or request.get("logGroupIdentifier", "")
    if not name:
        raise InvalidParameterException("Give logGroupName or logGroupIdentifier.")
    return str(name).removeprefix(config.log_group_arn("")).removesuffix(":*")


def _streams(config: Config, request: Request) -> tuple[str, list[Stream]]:
    group = _group_name(config, request)
    if group not in logstreams.groups(config):
        raise ResourceNotFoundException(f"The specified log group does not exist: {group}.")
    return group, logstreams.streams(config, group)


def _group(config: Config, name: str) -> dict[str, Any]:
    streams = logstreams.streams(config, name)
    arn = config.log_group_arn(name)
    firsts = [event.time for each in streams if (event := next(each.forward(0), None))]
    return {
        "logGroupName": name,
        "creationTime": min(firsts, default=0),
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupArn": arn,
        "logGroupClass": "STANDARD",
        "storedBytes": sum(each.size() for each in streams),
    }


def _stream(config: Config, group: str, stream: Stream) -> dict[str, Any]:
    first, last = stream.first_and_last()
    description: dict[str, Any] = {
        "logStreamName": stream.name,
        "creationTime": first.time if first else int(stream.path.stat().st_mtime * 1000),
        "arn": f"{config.log_group_arn(group)}:log-stream:{stream.name}",
        "storedBytes": 0,  # as on AWS, where the member is no longer filled
    }
    if first and last:
        description["firstEventTimestamp"] = first.time
        description["lastEventTimestamp"] = description["lastIngestionTime"] = last.time
    return description


def _page(items: list[Item], request: Request, name: Callable[[Item], str]) -> tuple[list[Item], str | None]:
    """A page of named things; the token is the last one's name."""
    token = request.get("nextToken")
    if token is not None:
        names = [name(item) for item in items]
        if token not in names:
            raise InvalidParameterException("The specified nextToken is invalid.")
        items = items[names.index(token) + 1 :]
    limit = request.get("limit", _MOST_LISTED)
    return items[:limit], name(items[limit - 1]) if len(items) > limit else None


# --- events of one stream ---------------------------------------------------------------------------


def _read(stream: Stream, request: Request) -> tuple[list[Event], int, int]:
    """A page of a stream's events in the order of time, and the bytes before and after it."""
    wanted = _between(request)
    token = request.get("nextToken")
    if token is not None:
        match = re.fullmatch(r"([fb])/(\d{1,56})/s", token)
        if match is None or int(match[2]) > stream.size():
            raise InvalidParameterException("The specified nextToken is invalid.")
        forward, offset = match[1] == "f", int(match[2])
    else:
        forward = bool(request.get("startFromHead", False))
        offset = stream.seek(request.get("startTime", 0)) if forward else stream.end()
    limit = _Limit(request)
    events = []
    start = end = offset
    for event in stream.forward(offset) if forward else stream.backward(offset):
        if wanted(event):
            if not limit.admits(event):
                break
            events.append(event)
        elif event.time > request.get("endTime", event.time) and forward:
            # Nothing later can be wanted, and what is appended will be later still.
            break
        elif event.time < request.get("startTime", event.time) and not forward:
            break
        start, end = (start, event.end) if forward else (event.start, end)
    if not forward:
        events.reverse()
    return events, start, end


def _between(request: Request) -> Callable[[Event], bool]:
    start, end = request.get("startTime", 0), request.get("endTime")
    return lambda event: event.time >= start and (end is None or event.time < end)


class _Limit:
    """A page's limits, in events and in bytes."""

    def __init__(self, request: Request) -> None:
        self._events = request.get("limit", _MOST_EVENTS)
        self._bytes = PAGE_BYTES

    def admits(self, event: Event) -> bool:
        """Counts one more event; False when the page is full. The first is always admitted."""
        first = self._bytes == PAGE_BYTES
        self._events -= 1
        self._bytes -= event.end - event.start + _EVENT_OVERHEAD
        return first or (self._events >= 0 and self._bytes >= 0)


# --- events of many streams ---------------------------------------------------------------------------


def _filter(streams: list[Stream], request: Request) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the streams' matching events, interleaved by time; the token holds every stream's place."""
    places = _read_places(request.get("nextToken"))
    wanted, matches = _between(request), _matcher(request.get("filterPattern", ""))
    end = request.get("endTime")

    def events(stream: Stream) -> Iterator[tuple[int, str, Event]]:
        place = places.get(stream.name)
        if place is None:
            place = stream.seek(request.get("startTime", 0))
        events_of_stream = stream.forward(min(place, stream.size()))
        if end is not None:
            events_of_stream = takewhile(lambda event: event.time < end, events_of_stream)
        return ((event.time, stream.name, event) for event in events_of_stream)

    limit = _Limit(request)
    shown: list[dict[str, Any]] = []
    for time, name, event in heapq.merge(*map(events, streams), key=lambda each: each[:2]):
        if wanted(event) and matches(event.text):
            if not limit.admits(event):
                return shown, pagetokens.write(places)
            shown.append(
                {
                    "logStreamName": name,
                    "timestamp": time,
                    "message": event.text,
                    "ingestionTime": time,
                    "eventId": _event_id(name, event),
                }
            )
        places[name] = event.end
    return shown, None


def _event_id(stream: str, event: Event) -> str:
    """56 digits, the same for the same event."""
    number = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "big")
    return f"{event.time:016d}{number:020d}{event.start:020d}"


def _read_places(token: str | None) -> dict[str, int]:
    if token is None:
        return {}
    try:
        places = pagetokens.parse(token)
        return {str(name): max(0, int(place)) for name, place in places.items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InvalidParameterException("The specified nextToken is invalid.") from None


def _matcher(pattern: str) -> Callable[[str], bool]:
    """CloudWatch's filter patterns for text: terms, "phrases", ?any of these, -none of these, %regex%."""
    pattern = pattern.strip()
    if pattern.startswith(("{", "[")):
        raise InvalidParameterException(
            f"Invalid filter pattern {pattern!r}: patterns for JSON and columns are not available in the "
            "local SageMaker; use plain terms."
        )
    if len(pattern) > 1 and pattern.startswith("%") and pattern.endswith("%"):
        try:
            regex = compile_pattern(pattern[1:-1])
        except PatternError as error:
            raise InvalidParameterException(f"Invalid filter pattern {pattern!r}: {error}.") from None
        return lambda text: regex.search(text) is not None
    terms = [
        (sign, phrase or word) for sign, phrase, word in re.findall(r'([-?]?)(?:"([^"]*)"|(\S+))', pattern)
    ]
    required = [term for sign, term in terms if not sign]
    either = [term for sign, term in terms if sign == "?"]
    excluded = [term for sign, term in terms if sign == "-"]
    return lambda text: (
        all(term in text for term in required)
        and (not either or any(term in text for term in either))
        and not any(term in text for term in excluded)
    )
