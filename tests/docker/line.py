"""A TCP line that breaks: stands between the engine and a registry."""

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass


@dataclass
class Break:
    """Reset a connection once `after` bytes have followed `sign` on it, `times` in all."""

    sign: bytes
    after: int = 0
    times: int = 1


class Line:
    """In a `with`: listens at `host` and hands connections on to `target` (host:port), but for `breaks`."""

    def __init__(self, target: str, *breaks: Break) -> None:
        self.broken = 0
        self._target = target
        self._breaks = breaks
        self._lock = threading.Lock()
        self._ended = False

    def __enter__(self) -> "Line":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            name, _, port = self._target.partition(":")
            far = socket.create_connection((name, int(port)))
            for arguments in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._carry, args=arguments, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        left: int | None = None  # bytes until this connection breaks
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                if from_client and left is None:
                    left = self._take(block)
                elif left is not None:
                    left -= len(block)
                if left is not None and left <= 0:
                    for end in (source, sink):  # closed without lingering: a reset
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                sink.sendall(block)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _take(self, block: bytes) -> int | None:
        with self._lock:
            for item in self._breaks:
                if item.times and item.sign in block:
                    item.times -= 1
                    self.broken += 1
                    return item.after
        return None
