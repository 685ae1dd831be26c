from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from local.peers import is_own

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
            assert is_own(peer, accepted.getsockname(), Path("/no/such/table"))


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
    for uid, own in ((os.getuid(), True), (os.getuid() + 1, False)):
        table.write_text("header\n" + line.format(uid=uid))
        assert is_own(("127.0.0.1", 4000), ("127.0.0.1", 5757), table) is own
        assert not is_own(("127.0.0.1", 4001), ("127.0.0.1", 5757), table)
