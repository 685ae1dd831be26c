"""HTTP to one container: connections that are kept, one request at a time on each. From many threads.

The standard library's client takes a quarter of the processor time that httpx takes to send a picture, and
what an invocation costs here is taken away from the model beside it.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_CONNECT_TIMEOUT = 5.0  # seconds
_MOST_IDLE = 64


class NoAnswer(Exception):
    """The container gave no answer that HTTP has; the text says what came instead."""


class TookTooLong(NoAnswer):
    """The container took longer than it had."""


@dataclass(frozen=True)
class ContainerAnswer:
    """`headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class ContainerClient:
    """Sends requests to a server on this machine, neither through a proxy nor after redirections."""

    def __init__(self, idle: float = 1.0) -> None:
        """`idle`: seconds that a connection is kept without use.

        Shorter than servers keep theirs (gunicorn: 2 s), so that none is met in the moment of its closing.
        """
        self._longest_idle = idle
        self._idle: list[tuple[str, http.client.HTTPConnection, float]] = []
        self._lock = threading.Lock()
        self._closed = False

    def ask(
        self,
        method: str,
        url: str,
        timeout: float,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ContainerAnswer:
        """The answer. `timeout`: seconds for each wait; a body in pieces is sent with chunked encoding.

        NoAnswer if there is none, TookTooLong if there was none in time.
        """
        parts = urlsplit(url)
        connection = self._connection(parts.netloc)
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(timeout)
            chunked = not isinstance(body, bytes | None)
            # A server that refuses a large body answers before it has read it, and hangs up.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, parts.path, body, dict(headers or {}), encode_chunked=chunked)
            response = connection.getresponse()
            answer = ContainerAnswer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        except BaseException as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise TookTooLong(f"no answer within {timeout:g} seconds") from None
            if isinstance(error, OSError | http.client.HTTPException):
                raise NoAnswer(str(error) or repr(error)) from None
            raise
        self._keep(parts.netloc, connection)
        return answer

    def close(self) -> None:
        """Closes the connections that are not in use; the others are closed after their answer."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, connection, _ in idle:
            connection.close()

    def _connection(self, address: str) -> http.client.HTTPConnection:
        """The one that was used last, which is the likeliest to be alive, or a new one."""
        oldest = time.monotonic() - self._longest_idle
        usable = None
        with self._lock:
            while self._idle and usable is None:
                kept_address, connection, since = self._idle.pop()
                if kept_address == address and since > oldest and not _hung_up(connection):
                    usable = connection
                else:
                    connection.close()
        return usable or http.client.HTTPConnection(address, timeout=_CONNECT_TIMEOUT)

    def _keep(self, address: str, connection: http.client.HTTPConnection) -> None:
        if connection.sock is None:
            return  # the server has closed it
        with self._lock:
            if not self._closed and len(self._idle) < _MOST_IDLE:
                self._idle.append((address, connection, time.monotonic()))
                return
        connection.close()


def _hung_up(connection: http.client.HTTPConnection) -> bool:
    """Whether something came where nothing was asked for: as a rule, the end of the connection."""
    if connection.sock is None:
        return True
    with contextlib.suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        return bool(poll.poll(0))
    return True
