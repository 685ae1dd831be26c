from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.jobs.client import ContainerClient, NoAnswer, TookTooLong


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["content-length"]))
        if body == b"slow":
            self.server.released.wait(10)  # type: ignore[attr-defined]
        if body == b"nothing":
            self.close_connection = True
            return
        peer = str(self.client_address[1]).encode()
        self.send_response(301 if body == b"elsewhere" else 200)
        self.send_header("X-Peer", peer.decode())
        self.send_header("Location", "/other")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if body == b"last":
            self.close_connection = True

    def log_message(self, *args: object) -> None: ...


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64  # of five, those that come at once on a busy machine are reset


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    server = Server(("127.0.0.1", 0), Handler)
    server.released = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def url(server: http.server.ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/invocations"


@pytest.fixture
def ours() -> Iterator[ContainerClient]:
    ours = ContainerClient()
    yield ours
    ours.close()


def test_bytes_and_pieces_arrive(ours: ContainerClient, url: str) -> None:
    body = bytes(range(256)) * 1000
    answer = ours.ask("POST", url, 5, body, {"x-any": "é".encode().decode("latin-1")})
    assert (answer.status, answer.good, answer.body) == (200, True, body)
    assert ours.ask("POST", url, 5, iter([b"one ", b"two"])).text == "one two"


def test_a_connection_is_used_again_until_the_server_hangs_up(ours: ContainerClient, url: str) -> None:
    def peer(body: bytes) -> str:
        return ours.ask("POST", url, 5, body).headers["x-peer"]

    first = peer(b"x")
    assert peer(b"last") == first
    assert peer(b"x") != first


def test_a_connection_that_was_idle_for_too_long_is_not_used(url: str) -> None:
    ours = ContainerClient(idle=0)
    peers = {ours.ask("POST", url, 5, b"x").headers["x-peer"] for _ in range(2)}
    ours.close()
    assert len(peers) == 2


def test_many_at_once(ours: ContainerClient, url: str) -> None:
    bodies = [str(number).encode() * 1000 for number in range(200)]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda body: ours.ask("POST", url, 5, body).body, bodies)) == bodies


def test_redirections_are_answers(ours: ContainerClient, url: str) -> None:
    answer = ours.ask("POST", url, 5, b"elsewhere")
    assert (answer.status, answer.good, answer.headers["location"]) == (301, False, "/other")


def test_no_answer(ours: ContainerClient, url: str) -> None:
    with pytest.raises(TookTooLong, match=r"within 0\.05 seconds"):
        ours.ask("POST", url, 0.05, b"slow")
    with pytest.raises(NoAnswer, match="without response"):
        ours.ask("POST", url, 5, b"nothing")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/ping"
    with pytest.raises(NoAnswer, match="refused"):
        ours.ask("GET", nobody, 5)
    assert ours.ask("POST", url, 5, b"x").good


def test_a_refusal_that_comes_before_the_body_has_been_sent(ours: ContainerClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(
                    b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\nconnection: close\r\n\r\nmore"
                )

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/invocations"
        answer = ours.ask("POST", url, 5, bytes(20_000_000))
        thread.join()
    assert (answer.status, answer.body) == (413, b"more")


def test_what_is_no_http(ours: ContainerClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"hello\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NoAnswer, match="hello"):
            ours.ask("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/ping", 5)
        thread.join()
