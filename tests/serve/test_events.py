"""Messages of the workers to the supervisor."""

import socket
from pathlib import Path

import pytest

from serve import events


def test_a_long_message_where_sockets_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, which sends 2 KiB at most unless asked for more."""

    class Small(socket.socket):
        def __init__(self, *arguments: int) -> None:
            super().__init__(*arguments)
            self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_048)
            self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)

    monkeypatch.setattr(socket, "socket", Small)
    monkeypatch.setenv(events.VARIABLE, str(tmp_path / "events"))
    inbox = events.Inbox(tmp_path / "events")
    events.send("failed", reason="x" * 20_000)
    [event] = inbox.receive()
    inbox.close()
    assert (event["kind"], len(event["reason"])) == ("failed", 20_000)
