"""How a worker reports to the supervisor that it began, loaded or failed: datagrams on a Unix socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any, Final

VARIABLE: Final = "BYOC_EVENTS"
_MAX_BYTES: Final = 32_768
_BUFFER: Final = 4 * _MAX_BYTES  # macOS sends at most 2 KiB and keeps 4 unless it is asked for more


class Inbox:
    """The supervisor's end. `fileno` makes it usable with `selectors`."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> list[dict[str, Any]]:
        """What has arrived since."""
        events = []
        with contextlib.suppress(BlockingIOError):
            while True:
                events.append(json.loads(self._socket.recv(_MAX_BYTES)))
        return events

    def close(self) -> None:
        self._socket.close()


def send(kind: str, **fields: Any) -> None:
    """Report to the supervisor; without one (a test, another server), do nothing. Never blocks."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    data = json.dumps({"kind": kind, "pid": os.getpid(), **fields}, default=str).encode()
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outgoing:
        outgoing.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        outgoing.setblocking(False)
        outgoing.sendto(data[:_MAX_BYTES], path)
