"""Who is at the other end of a loopback connection: only this user and root may use the service.

Whoever reaches the port can run programs as the service's user. On Linux, sock_diag(7) returns the owner of
one socket in 0.05 ms; /proc/net/tcp lists all sockets and takes 100 times as long. On systems without either,
every user of the machine is let in.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from pathlib import Path
from typing import Any, NamedTuple

_TABLE = Path("/proc/net/tcp")
_TEXT = b"The local SageMaker belongs to another user of this machine."
_ANSWER = (
    b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s"
)

Address = tuple[str, int]


class Owner(NamedTuple):
    """A socket's user, and its inode: 0 once its process has closed it, when the user is 0 as well."""

    user: int
    inode: int


def is_own(peer: Address, here: Address) -> bool:
    """Whether the socket at `peer` that is connected to `here` is this user's or root's."""
    try:
        owner = asked(peer, here)
    except (OSError, AttributeError):  # the kernel is built without it; or a system without netlink
        try:
            owner = listed(peer, here)
        except OSError:
            return True
    return owner is not None and owner.inode != 0 and owner.user in (0, os.getuid())


# Of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ALL_STATES = _NO_COOKIE = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
_SOCKET = struct.Struct("!HH4s12x4s12x")  # ports and addresses of both ends
_REST = struct.Struct("=III")  # of a socket: the interface, a cookie
_ANSWER_HEAD = 4  # bytes: family, state, timer, retransmissions
_ANSWER_TAIL = struct.Struct("=IIIII")  # expires, both queues, user, inode


def asked(peer: Address, here: Address) -> Owner | None:
    """The owner of the socket at `peer`, as sock_diag has it; None if there is no such socket. OSError."""
    ends = _SOCKET.pack(peer[1], here[1], socket.inet_aton(peer[0]), socket.inet_aton(here[0]))
    ends += _REST.pack(0, _NO_COOKIE, _NO_COOKIE)
    body = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + ends
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1)  # it answers at once
        head = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
        kernel.sendto(head + body, (0, 0))
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if number == errno.ENOENT and listed(peer, here) is None:
            return None  # the kernel says the same where it does not know
        raise OSError(number, os.strerror(number))
    tail = _ANSWER_TAIL.unpack_from(answer, _HEADER.size + _ANSWER_HEAD + len(ends))
    return Owner(*tail[3:])


def listed(peer: Address, here: Address, table: Path = _TABLE) -> Owner | None:
    """The same from the table of all sockets. OSError."""
    ends = [_written(peer), _written(here)]
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1:3] == ends:
            return Owner(int(fields[7]), int(fields[9]))
    return None


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
            if peer is None:  # it has gone already
                self.refused = True
                transport.abort()
                return
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
