"""What the local SageMaker answers to an interruption."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from contract.errors import BAD_INPUT, NOT_FOUND, UNREACHABLE, ByocError
from scripts import spot


class Server(HTTPServer):
    answer: tuple[int, bytes] = (200, b"{}")
    asked = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.asked = self.path
        status, body = self.server.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_it_is_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    spot.interrupt(server.url, "job-1", wait=2.5, grace=0)
    assert server.asked == "/_local/training-jobs/job-1/interrupt?wait=2.5&grace=0"
    spot.interrupt(f"{server.url}/", "a/b")
    assert server.asked == "/_local/training-jobs/a%2Fb/interrupt?"


@pytest.mark.parametrize(
    ("status", "body", "code", "says"),
    [
        (
            400,
            {"__type": "ResourceNotFound", "message": "There is no x."},
            NOT_FOUND,
            "There is no x. `byoc jobs`",
        ),
        (
            400,
            {"__type": "ValidationException", "message": "It has ended."},
            BAD_INPUT,
            "It has ended. A job of",
        ),
        (404, "not found", UNREACHABLE, "did not interrupt job: HTTP status 404. If an earlier version"),
    ],
)
def test_it_is_refused(server: Server, status: int, body: object, code: int, says: str) -> None:
    server.answer = (status, json.dumps(body).encode())
    with pytest.raises(ByocError, match=r".") as caught:
        spot.interrupt(server.url, "job")
    assert caught.value.code == code
    assert says in str(caught.value)


def test_nobody_answers(server: Server) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(ByocError, match="No local SageMaker answers") as caught:
        spot.interrupt(url, "job")
    assert caught.value.code == UNREACHABLE
