"""Starting and stopping, with a stand-in for `python -m local` that answers /health only."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import localservice
from scripts.errors import ByocError

STAND_IN = """
import http.server, json, os, signal, sys
port, home = int(sys.argv[sys.argv.index("--port") + 1]), sys.argv[sys.argv.index("--home") + 1]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps({"service": "byoc-local", "version": "1", "runtime": "process",
            "home": home, "port": port, "pid": os.getpid()}).encode())
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home in which `-m local` finds the stand-in first."""
    started: list[subprocess.Popen[bytes]] = []
    home = tmp_path / "it's home"
    monkeypatch.setattr(localservice, "_STARTED", started)
    home.mkdir()
    (home / "local.py").write_text(STAND_IN)
    yield home
    localservice.down(home)
    for process in started:
        process.wait()


@pytest.fixture
def port() -> int:
    return localservice.free_port()


def test_up_status_down(home: Path, port: int) -> None:
    assert localservice.status(home) is None
    service, started = localservice.up(home, port)
    assert started
    assert service.url == f"http://127.0.0.1:{port}"
    assert localservice.status(home) == service
    assert localservice.up(home, port) == (service, False)
    assert localservice.down(home) == service
    assert localservice.status(home) is None
    assert localservice.health(port) is None
    assert localservice.down(home) is None


def test_a_port_of_another_program(home: Path) -> None:
    message = r"in use by another program.*--port \d+"
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ByocError, match=message):
        localservice.up(home, other.getsockname()[1])
    assert localservice.status(home) is None


def test_a_port_of_another_project(home: Path, port: int, tmp_path: Path) -> None:
    localservice.up(home, port)
    with pytest.raises(ByocError, match=r"Another local SageMaker, of .*it's home"):
        localservice.up(tmp_path / "other", port)


def test_a_service_that_does_not_start_leaves_its_words_and_nothing_else(home: Path, port: int) -> None:
    (home / "local.py").write_text("raise SystemExit('no disk')")
    with pytest.raises(ByocError, match="no disk"):
        localservice.up(home, port)
    assert localservice.status(home) is None


def test_an_interrupted_start_leaves_no_process(
    home: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*arguments: object, **details: object) -> subprocess.Popen[bytes]:
        started.append(real(*arguments, **details))  # type: ignore[call-overload]
        signal.raise_signal(signal.SIGINT)  # at the worst moment
        return started[0]

    monkeypatch.setattr(localservice.subprocess, "Popen", popen)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    with pytest.raises(KeyboardInterrupt):
        localservice.up(home, port)
    assert started[0].wait(5) is not None
    assert localservice.status(home) is None


def test_a_number_that_belongs_to_another_process_by_now(home: Path, port: int) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        localservice.write_json(home / "service.json", {"pid": other.pid, "port": port})
        assert localservice.down(home) is None
        assert other.poll() is None
    finally:
        other.communicate(b"\n")


def test_another_port_leaves_the_running_service_known(home: Path, port: int) -> None:
    service, _ = localservice.up(home, port)
    with pytest.raises(ByocError, match="runs already"):
        localservice.up(home, localservice.free_port())
    assert localservice.down(home) == service


def test_a_stale_file_ends_no_foreign_process(home: Path, port: int) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (home / "service.json").write_text(f'{{"pid": {other.pid}, "port": {port}}}')
        assert localservice.down(home) is None
        assert other.poll() is None
        other.communicate()
    (home / "service.json").write_text(f'{{"pid": -1, "port": {port}}}')
    assert localservice.status(home) is None
