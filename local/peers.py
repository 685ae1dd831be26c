"""Who is at the other end of a loopback connection: only this user and root may use the service.

Whoever reaches the port can run programs as the service's user. Linux tells the owner of every local socket
in /proc/net/tcp; where that file does not exist, everybody on this machine is let in.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path
from typing import Any

_TABLE = Path("/proc/net/tcp")
_TEXT = b"The local SageMaker belongs to another user of this machine."
_ANSWER = (
    b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s"
)

Address = tuple[str, int]


def is_own(peer: Address, here: Address, table: Path = _TABLE) -> bool:
    """Whether the socket at `peer` that is connected to `here` is this user's or root's."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return True
    ends = [_written(peer), _written(here)]
    for line in lines:
        fields = line.split()
        if fields[1:3] == ends:
            # A socket that was closed already has no inode, and 0 in place of its owner.
            return fields[9] != "0" and int(fields[7]) in (0, os.getuid())
    return False


def _written(address: Address) -> str:
    """An IPv4 address and port as the kernel's table has them."""
    [number] = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def guarded(protocol: Any) -> Any:
    """`protocol`, a class of uvicorn's, that refuses connections of other users as they are made."""

    class Guarded(protocol):  # type: ignore[misc]
        refused = False

        def connection_made(self, transport: asyncio.Transport) -> None:
            peer, here = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
            if is_own(peer, here):
                super().connection_made(transport)
                return
            self.refused = True
            transport.write(_ANSWER % (len(_TEXT), _TEXT))
            transport.close()

        def connection_lost(self, error: Exception | None) -> None:
            if not self.refused:
                super().connection_lost(error)

    return Guarded
