"""A bounded load on one HTTP server: so many connections, for so long, each with one request at a time."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections import Counter


@dataclasses.dataclass(frozen=True)
class Load:
    """What came of it: `latencies` in seconds of the good answers, sorted; `seconds` of the whole."""

    latencies: list[float]
    codes: Counter[int]
    seconds: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """Milliseconds."""
        if not self.latencies:
            return float("nan")
        return 1e3 * self.latencies[round(percent / 100 * (len(self.latencies) - 1))]


def post(body: bytes, path: str = "/invocations", **headers: str) -> bytes:
    """A request as it goes over the wire. Underscores in header names become hyphens."""
    named = {"Host": "localhost", "Content-Type": "image/jpeg", "Content-Length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer; 0 when the server has hung up. Reads Content-Length bodies only."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return 0, data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            return 0, body
        body += more
    return int(head.split(b" ", 2)[1]), body


def until_answered(port: int, request: bytes, seconds: float = 60) -> None:
    """Wait for the first good answer. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 60) as connection:
                connection.sendall(request)
                if answer(connection)[0] == 200:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"the server on port {port} gives no good answer")


def run(port: int, requests: list[bytes], connections: int, seconds: float, warm: float = 0.3) -> Load:
    """Send `requests` in turn. Answers in the first `warm` seconds do not count."""
    begin = time.perf_counter() + warm
    end = begin + seconds
    latencies: list[float] = []
    codes: Counter[int] = Counter()

    def work(number: int) -> None:
        turn = number
        connection: socket.socket | None = None
        while time.perf_counter() < end:
            start = time.perf_counter()
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", port), 60)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sendall(requests[turn % len(requests)])
                code, _ = answer(connection)
            except OSError:
                code = 0
            done = time.perf_counter()
            turn += 1
            if code == 0 and connection is not None:
                connection.close()
                connection = None
            if begin <= done <= end:
                codes[code] += 1
                if code == 200:
                    latencies.append(done - start)
        if connection is not None:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(sorted(latencies), codes, seconds)
