"""Whose service answers, and why none does; with the stand-in of `conftest`."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from contract.errors import BAD_INPUT, UNREACHABLE, ByocError
from scripts import localservice, localstatus
from scripts.localstatus import check, home_of, how_to_stop, unreachable
from tests.scripts.conftest import kill


@contextmanager
def server(body: bytes, status: int = 200) -> Iterator[str]:
    """A server that answers every request with `body`; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def answer(home: str) -> bytes:
    told = {"service": "byoc-local", "version": "1", "runtime": "process", "home": home, "port": 1, "pid": 1}
    return json.dumps(told).encode()


def test_a_folder_uses_its_own_service_by_whatever_path(home: Path, port: int, tmp_path: Path) -> None:
    service, _ = localservice.up(home, port)
    link = tmp_path / "link"
    link.symlink_to(home.parent.parent)
    check(home_of(link), service.url)
    check(home_of(link / ".byoc" / ".."), f"http://localhost:{port}/")


def test_a_folder_does_not_use_the_service_of_another(home: Path, port: int, tmp_path: Path) -> None:
    service, _ = localservice.up(home, port)
    mine = home_of(tmp_path / "mine")
    with pytest.raises(ByocError) as caught:
        check(mine, service.url)
    assert f"is the local SageMaker of {home}, but this folder's is {mine}" in caught.value.message
    assert f"byoc local down --config '{tmp_path}/it'\"'\"'s home/byoc.toml'" in caught.value.remedy
    assert "aws.endpoint_url in byoc.toml" in caught.value.remedy
    assert caught.value.code == BAD_INPUT
    check(mine, service.url, anyone=True)


def test_an_address_of_the_environment_is_named_as_the_cause(
    home: Path, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _ = localservice.up(home, port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
    with pytest.raises(ByocError, match="unset AWS_ENDPOINT_URL"):
        check(home_of(tmp_path / "mine"), service.url)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (answer("/srv/shared"), 200),  # by hand, or in a container: of no folder
        (b'{"services": {"s3": "running"}}', 200),  # an emulator of AWS
        (b"[]", 200),
        (b'{"service": "byoc-local"}', 200),
        (b"it works", 200),
        (b"", 404),
        (b"The local SageMaker belongs to another user of this machine.", 403),
    ],
)
def test_what_belongs_to_no_folder_may_be_used(tmp_path: Path, body: bytes, status: int) -> None:
    with server(body, status) as url:
        check(home_of(tmp_path), url)
    with server(answer(str(tmp_path / "other" / ".byoc" / "local"))) as url, pytest.raises(ByocError):
        check(home_of(tmp_path), url)


def test_how_to_stop_one_whose_folder_has_gone(home: Path, port: int) -> None:
    service, _ = localservice.up(home, port)
    noted = (home / "service.json").read_text()
    (home / "service.json").unlink()
    assert how_to_stop(service) == f"`kill {service.pid}`"
    (home / "service.json").write_text(noted)
    # A number that means something else here: the service's in a container, say.
    foreign = localstatus.Service(1, port, "/home/me/.byoc/local")
    assert "kill" not in how_to_stop(foreign)


def test_a_service_that_was_not_started(tmp_path: Path, port: int) -> None:
    with pytest.raises(
        ByocError, match=rf":{port}: this folder's local SageMaker does not run.*up`"
    ) as caught:
        check(home_of(tmp_path), f"http://127.0.0.1:{port}")
    assert caught.value.code == UNREACHABLE
    assert localstatus.end(home_of(tmp_path)) == "does not run"


def test_a_service_that_was_killed(home: Path, port: int) -> None:
    (home / "service.log").write_text("2026-01-01 00:00:00,000 ERROR local: of an earlier one\n")
    service, _ = localservice.up(home, port)
    kill()
    with pytest.raises(
        ByocError, match=r"was killed, or ended by itself, with no error in its log, .*local up`"
    ):
        check(home, service.url)
    with (home / "service.log").open("a") as log:
        log.write("2026-01-01 00:00:00,000 ERROR local: first\n")
        log.write(
            "Traceback (most recent call last):\n  File x\nOSError: [Errno 28] No space left on device\n"
        )
        log.write("2026-01-01 00:00:00,000 INFO local: a line that is no error\n")
    error = unreachable(home, service.url)
    assert "the last error in its log" in error.message
    assert error.message.endswith(": OSError: [Errno 28] No space left on device.")
    localservice.down(home)
    assert "does not run" in unreachable(home, service.url).message


def test_a_service_that_was_stopped_by_a_down_that_did_not_wait(home: Path, port: int) -> None:
    service, _ = localservice.up(home, port)
    kill()
    log = home / "service.log"
    stopped = "2026-01-01 00:00:00,000 INFO local: stopping\n2026-01-01 00:00:00,000 INFO local: stopped\n"
    log.write_text(f"2026-01-01 00:00:00,000 ERROR local: of a job\n{stopped}")
    assert unreachable(home, service.url).message.endswith("this folder's local SageMaker was stopped.")
    log.write_text(f"{stopped}Traceback (most recent call last):\nOSError: why it stopped\n")
    assert localstatus.end(home).endswith("OSError: why it stopped")


def test_a_service_that_hangs_is_told_before_the_first_request(
    home: Path, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localstatus, "PATIENCE", 0.2)
    monkeypatch.setattr(localstatus, "_SOON", 0.2)
    service, _ = localservice.up(home, port)
    os.kill(service.pid, signal.SIGSTOP)
    for anyone in (False, True):
        with pytest.raises(
            ByocError, match=rf"process {service.pid}\) is there, but hangs.*local down"
        ) as caught:
            check(home, service.url, anyone=anyone)
        assert caught.value.code == UNREACHABLE
    with pytest.raises(ByocError, match=r"takes connections, but does not answer.*endpoint_url"):
        check(home_of(tmp_path / "mine"), service.url)


def test_a_service_at_another_port_or_one_that_hangs(
    home: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _ = localservice.up(home, port)
    other = unreachable(home, f"http://127.0.0.1:{localstatus.free_port()}")
    assert f"runs at {service.url}" in other.message
    assert "aws.endpoint_url" in other.remedy
    up = unreachable(home, service.url)  # so it was a proxy, say: nothing that `down` would mend
    assert f"(process {service.pid}) is up" in up.message
    assert "down" not in up.remedy
    os.kill(service.pid, signal.SIGSTOP)
    monkeypatch.setattr(localstatus, "_SOON", 0.2)
    hangs = unreachable(home, service.url)
    assert f"(process {service.pid}) is there, but hangs" in hangs.message
    assert "stops it, and the jobs that it runs" in hangs.remedy


def test_no_answer_at_all_is_left_to_the_request(tmp_path: Path) -> None:
    """TLS without a certificate that is known, or a server that closes at once: no reason to refuse."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: [listener.accept()[0].close() for _ in range(2)])
        thread.start()
        for scheme in ("http", "https"):
            check(home_of(tmp_path), f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


def test_a_number_of_another_process_is_no_service(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert localstatus.alive(other.pid)
        assert not localstatus.is_service(other.pid, home)
        other.communicate(b"\n")
    assert not localstatus.alive(other.pid)
