"""Runs the server on loopback until Ctrl-C."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Final

import uvicorn

from contract.errors import ByocError
from scripts.web.app import create_app
from scripts.web.session import Session

PORT: Final = 8765
_TRIES: Final = 20
_HOST: Final = "127.0.0.1"


def bind(port: int | None) -> socket.socket:
    """A socket on loopback: the port that is wanted, or else the first free one from the usual one on.

    Raises:
        ByocError: the wanted port is taken.
    """
    for number in [port] if port is not None else [*range(PORT, PORT + _TRIES), 0]:
        # With the protocol named: asyncio switches Nagle's algorithm off for sockets that name it only.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, number))
            return listener
        except OSError as error:
            listener.close()
            problem = error
    raise ByocError(
        f"The port {port} cannot be used: {problem.strerror}.",
        "Choose another one with --port.",
        kind="PortTaken",
    )


def serve(session: Session, listener: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `ready` gets the address with the token."""
    port, token = listener.getsockname()[1], secrets.token_urlsafe(32)
    logging.getLogger("byoc.web").addHandler(logging.StreamHandler())
    app, web = create_app(session, token, port)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready(f"http://{_HOST}:{port}/?token={token}")
            threading.Thread(target=web.warm, daemon=True).start()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            web.closing = True  # streams would hold it up
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=3, server_header=False
    )
    Server(config).run([listener])
