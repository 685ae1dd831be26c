from __future__ import annotations

import http.client
import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from local.runtime.forwarder import Forwarder

GATEWAY = "127.0.0.2"  # any address of loopback's, in place of a bridge's


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def forwarder(port: int) -> Iterator[Forwarder]:
    forwarder = Forwarder(port)
    yield forwarder
    forwarder.close()


def post(port: int, body: bytes) -> bytes:
    connection = http.client.HTTPConnection(GATEWAY, port, timeout=5)
    try:
        connection.request("POST", "/", body)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_bytes_go_there_and_back(port: int, forwarder: Forwarder) -> None:
    forwarder.listen(GATEWAY, "127.0.0.0/8")
    body = bytes(range(256)) * 10_000
    assert post(port, body) == body
    forwarder.leave(GATEWAY)
    with pytest.raises(ConnectionRefusedError):
        post(port, b"x")


def test_only_the_networks_own_containers_are_let_in(port: int, forwarder: Forwarder) -> None:
    forwarder.listen(GATEWAY, "172.30.0.0/16")
    with pytest.raises(ConnectionError):
        post(port, b"x")


def test_an_address_that_is_not_this_machines(forwarder: Forwarder) -> None:
    with pytest.raises(OSError, match=r"assign requested address|could not bind"):
        forwarder.listen("192.0.2.1", "192.0.2.0/24")


def test_connections_end_with_the_forwarder(port: int) -> None:
    forwarder = Forwarder(port)
    forwarder.listen(GATEWAY, "127.0.0.0/8")
    with socket.create_connection((GATEWAY, port), timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.sendall(b"POST / HTTP/1.1\r\n")
        forwarder.close()
        assert connection.recv(1) == b""


def test_a_service_that_is_gone(forwarder: Forwarder) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = Forwarder(free.getsockname()[1])
    dead.listen(GATEWAY, "127.0.0.0/8")
    with pytest.raises(ConnectionError):
        post(dead._port, b"x")
    dead.close()
