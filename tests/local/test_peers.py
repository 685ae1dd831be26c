from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local import peers
from local.peers import Owner, asked, is_own, listed

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's table of sockets")

_OTHER = """
import os, socket, sys
os.setuid(65534)
client = socket.socket()
client.connect(("127.0.0.1", int(sys.argv[1])))
sys.stdin.read()
"""


def test_this_users_connection_is_its_own_until_it_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, peer = listener.accept()
        with accepted:
            assert is_own(peer, accepted.getsockname())
            # What has been sent and closed at once has no owner any more.
            client.close()
            assert not is_own(peer, accepted.getsockname())


def test_a_peer_that_has_gone_already() -> None:
    class Protocol:
        def connection_made(self, transport: object) -> None:
            raise AssertionError("let in")

        def connection_lost(self, error: object) -> None:
            raise AssertionError("never was there")

    aborted: list[bool] = []

    class Transport:
        def get_extra_info(self, name: str) -> object:
            return None if name == "peername" else ("127.0.0.1", 1)

        def abort(self) -> None:
            aborted.append(True)

    connection: Any = peers.guarded(Protocol)()
    connection.connection_made(Transport())
    connection.connection_lost(None)
    assert aborted == [True]


def test_both_sources_say_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, peer = listener.accept()
        here = accepted.getsockname()
        owner = asked(peer, here)
        assert owner == listed(peer, here) == Owner(os.getuid(), os.fstat(client.fileno()).st_ino)
        client.close()
        accepted.close()
        assert asked((peer[0], 1), here) is None
        assert listed((peer[0], 1), here) is None


@pytest.mark.parametrize("lacking", [OSError("no netlink"), AttributeError("AF_NETLINK")])
def test_where_the_kernel_cannot_be_asked(lacking: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise lacking

    monkeypatch.setattr(peers, "asked", fail)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, peer = listener.accept()
        with accepted, client:
            assert is_own(peer, accepted.getsockname())
            assert not is_own((peer[0], 1), accepted.getsockname())
            monkeypatch.setattr(peers, "listed", fail)
            if isinstance(lacking, OSError):
                assert is_own((peer[0], 1), accepted.getsockname())


@pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's rights")
def test_another_users_connection_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        port = str(listener.getsockname()[1])
        with subprocess.Popen([sys.executable, "-c", _OTHER, port], stdin=subprocess.PIPE):
            accepted, peer = listener.accept()
            with accepted:
                assert not is_own(peer, accepted.getsockname())


def test_the_table_is_read_by_both_ends(tmp_path: Path) -> None:
    def end(port: int) -> str:
        return f"{struct.unpack('=I', socket.inet_aton('127.0.0.1'))[0]:08X}:{port:04X}"

    table = tmp_path / "tcp"
    line = f" 0: {end(4000)} {end(5757)} 01 0:0 0:0 0 {{uid}} 0 77 1\n"
    table.write_text("header\n" + line.format(uid=1234))
    assert listed(("127.0.0.1", 4000), ("127.0.0.1", 5757), table) == Owner(1234, 77)
    assert listed(("127.0.0.1", 4001), ("127.0.0.1", 5757), table) is None
