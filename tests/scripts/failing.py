"""An HTTP server that fails in the ways in which AWS does."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, Any]]
Step = Answer | str  # an answer, or how the connection fails: "drop" cuts it, "hang" leaves it without one


class Failing(ThreadingHTTPServer):
    """Answers each request with the next step of its script; then with `after` for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Step] = []
        self.after: Step | Callable[[str], Step] = (200, {})
        self.seen: list[str] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that have left


class _Handler(BaseHTTPRequestHandler):
    server: Failing
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        operation = self.headers.get("X-Amz-Target", self.path).rpartition(".")[2]
        self.server.seen.append(operation)
        after = self.server.after
        step = (
            self.server.script.pop(0)
            if self.server.script
            else after(operation)
            if callable(after)
            else after
        )
        if step == "drop":
            self.close_connection = True
            self.connection.close()
            return
        if step == "hang":
            self.server.over.wait(30)
            return
        status, body = step  # type: ignore[misc]
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def failing() -> Iterator[Failing]:
    server = Failing()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
