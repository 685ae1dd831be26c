from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from local.runtime.container import RuntimeProblem
from local.runtime.dockerhost import Host, connect, least_loaded, main

INFO: dict[str, Any] = {"NCPU": 4, "MemTotal": 8 << 30, "CpuCfsQuota": True, "SecurityOptions": None}


def host(*security: str, **info: Any) -> Host:
    options = [f"name={name}" for name in security]
    return Host.of({**INFO, "SecurityOptions": options, **info})


@pytest.mark.parametrize(
    ("security", "uid", "expected"),
    [
        ((), 0, {}),
        ((), 1000, {"user": "1000:100"}),
        # Root inside is the user outside.
        (("rootless",), 1000, {}),
        # Root inside is nobody that is known outside.
        (("userns",), 0, {"userns_mode": "host"}),
        (("userns",), 1000, {"user": "1000:100", "userns_mode": "host"}),
        (("selinux",), 0, {"security_opt": ["label=disable"]}),
        (("seccomp,profile=default", "rootless", "cgroupns"), 1000, {}),
    ],
)
def test_who_a_container_is(security: tuple[str, ...], uid: int, expected: dict[str, Any]) -> None:
    assert host(*security).identity(uid, 100) == expected


def test_cores() -> None:
    assert host().limit(None) == {}
    assert host().limit(2) == {"nano_cpus": 2_000_000_000}
    # Docker Desktop's virtual machine may have fewer than the machine.
    assert host().limit(16) == {"nano_cpus": 4_000_000_000}
    assert host(CpuCfsQuota=False).limit(2) == {}
    assert Host.of(INFO).limit(1) == {"nano_cpus": 1_000_000_000}


@pytest.mark.parametrize(
    ("load", "count", "expected"),
    [([], 2, []), ([0], 2, [0]), ([1, 0, 0, 2], 2, [1, 2]), ([1, 1], 1, [0]), ([3, 0, 1], 2, [1, 2])],
)
def test_gpus_are_shared_out(load: list[int], count: int, expected: list[int]) -> None:
    assert least_loaded(load, count) == expected


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda value: monkeypatch.setenv("DOCKER_HOST", value)


def test_no_engine(address: Callable[[str], None], tmp_path: Path) -> None:
    address(f"unix://{tmp_path}/none.sock")
    with pytest.raises(
        RuntimeProblem, match=r"No Docker engine answers: start it .* or use the process runtime"
    ):
        connect()


@pytest.mark.parametrize(("patience", "first"), [(1, 15), (60, 1)])
def test_an_engine_that_hangs(
    address: Callable[[str], None],
    tmp_path: Path,
    patience: int,
    first: int,
) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        address(f"unix://{tmp_path}/silent.sock")
        with pytest.raises(RuntimeProblem, match=r"The Docker engine hangs: restart it.*timeout=1\b"):
            connect(patience, first)


def test_an_engine_that_answers_gets_the_whole_patience(address: Callable[[str], None]) -> None:
    class Engine(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"ApiVersion": "1.41"}')

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Engine) as engine:
        thread = threading.Thread(target=engine.serve_forever)
        thread.start()
        address(f"tcp://127.0.0.1:{engine.server_port}")
        client = connect()
        assert client.api.timeout == 60
        client.close()
        engine.shutdown()
        thread.join()


@pytest.mark.parametrize("elsewhere", ["ssh://me@server", "tcp://10.0.0.1:2375", "http://server:2375"])
def test_an_engine_on_another_machine(address: Callable[[str], None], elsewhere: str) -> None:
    address(elsewhere)
    with pytest.raises(RuntimeProblem, match=f"at {elsewhere} is on another machine"):
        connect()


def test_the_program_says_why_no_engine_can_be_used(
    address: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    address("ssh://me@server")
    assert main() == 4
    assert "ssh://me@server is on another machine" in capsys.readouterr().err
