"""Free TCP ports on loopback, handed out once at a time."""

from __future__ import annotations

import random
import socket
import threading

# multi-model-server refuses ports from 32767 on, and Linux hands out ports from 32768 on by itself.
FIRST, LAST = 20_000, 32_000


class Ports:
    """Ports that nobody listens on and that this service has not promised to another container."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: set[int] = set()

    def take(self) -> int:
        """A free port, reserved until `release`. OSError if none was found."""
        with self._lock:
            for port in random.sample(range(FIRST, LAST), 200):
                if port not in self._taken and _is_free(port):
                    self._taken.add(port)
                    return port
        raise OSError(f"no free TCP port between {FIRST} and {LAST}")

    def release(self, port: int) -> None:
        with self._lock:
            self._taken.discard(port)


def _is_free(port: int) -> bool:
    # Both addresses: a server may bind loopback or all interfaces.
    for address in ("127.0.0.1", "0.0.0.0"):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
