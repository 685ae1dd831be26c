"""What the front end says about each request, made into log lines and metrics.

The metrics are lines in CloudWatch's embedded metric format: on AWS they become metrics out of the endpoint's
log, without an agent. Latencies are in milliseconds; a percentile of nothing is left out.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import time
from typing import IO, Any, Final

_NAMESPACE: Final = "byoc/serve"
_PARTS: Final = {"Total": "total_ms", "Queue": "queue_ms", "Decode": "decode_ms", "Forward": "forward_ms"}


class Records:
    """The supervisor's end of Java's stdout. `fileno` makes it usable with `selectors`."""

    def __init__(self, source: IO[bytes], each: bool, seconds: int) -> None:
        self._source = source
        self._each = each
        self._seconds = seconds
        self._rest = b""
        self._seen: list[dict[str, Any]] = []
        self._next = time.monotonic() + seconds
        os.set_blocking(source.fileno(), False)

    def fileno(self) -> int:
        return self._source.fileno()

    def close(self) -> None:
        self._source.close()

    def receive(self) -> bool:
        """Take what has arrived, and write what is due. False when no more can come."""
        alive = True
        with contextlib.suppress(BlockingIOError):
            while alive:
                data = os.read(self.fileno(), 65536)
                alive = bool(data)
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._take(line)
        if self._seconds and (time.monotonic() >= self._next or not alive):
            self._next = time.monotonic() + self._seconds
            if self._seen:
                print(json.dumps(metrics(self._seen, time.time())), flush=True)
                self._seen = []
        return alive

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
        except ValueError:  # something else that Java has to say
            print(line.decode(errors="replace"), flush=True)
            return
        if self._each:
            print(line.decode(), flush=True)
        if self._seconds:
            self._seen.append(record)


def metrics(records: list[dict[str, Any]], now: float) -> dict[str, Any]:
    """One line of embedded metrics about the requests of an interval. `now`: seconds since 1970."""
    codes = collections.Counter(record["status"] for record in records)
    values: dict[str, float] = {
        "Requests": len(records),
        "Pictures": sum(record.get("pictures", 0) for record in records),
        "Errors4xx": sum(count for code, count in codes.items() if 400 <= code < 500),
        "Errors5xx": sum(count for code, count in codes.items() if code >= 500),
        "Rejected": codes[503],
    }
    units = dict.fromkeys(values, "Count")
    for name, field in _PARTS.items():
        times = sorted(record[field] for record in records if field in record and record["status"] == 200)
        if times:
            for percent in (50, 99):
                place = min(len(times) - 1, round(percent / 100 * (len(times) - 1)))
                values[f"{name}P{percent}"] = times[place]
                units[f"{name}P{percent}"] = "Milliseconds"
    if batches := [record["batch"] for record in records if "batch" in record]:
        # Each request of a batch says how large it was; so many batches there were.
        values["BatchSize"] = round(len(batches) / sum(1 / size for size in batches), 2)
        units["BatchSize"] = "Count"
    described = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    return {
        "_aws": {
            "Timestamp": int(now * 1000),
            "CloudWatchMetrics": [{"Namespace": _NAMESPACE, "Dimensions": [[]], "Metrics": described}],
        },
        "Codes": {str(code): count for code, count in sorted(codes.items())},
        **values,
    }
