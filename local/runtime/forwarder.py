"""Lets containers reach a service that listens on loopback only.

Listens on the gateway address of a bridge network, an address of this machine that exists for the network's
containers, and hands every connection on to loopback. Nobody else is let in.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import threading

_BLOCK = 64 * 1024


class Forwarder:
    """A thread with a listener for each network. `port`: that of the service, and of every listener."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._listeners: dict[str, asyncio.Server] = {}
        self._thread = threading.Thread(target=self._run, name="forwarder", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(_end_tasks())
        self._loop.close()

    def listen(self, gateway: str, subnet: str) -> None:
        """Lets the containers of `subnet` in at `gateway`. OSError if that is no address of this machine."""
        asyncio.run_coroutine_threadsafe(self._listen(gateway, subnet), self._loop).result(10)

    def leave(self, gateway: str) -> None:
        """Stops listening; connections that are there go on. Harmless when it is closed."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._leave(gateway), self._loop).result(10)

    def close(self) -> None:
        for gateway in list(self._listeners):
            self.leave(gateway)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _listen(self, gateway: str, subnet: str) -> None:
        network = ipaddress.ip_network(subnet)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                # Other machines can send packets to any address of this one.
                if ipaddress.ip_address(writer.get_extra_info("peername")[0]) in network:
                    await self._forward(reader, writer)
            finally:
                writer.close()

        self._listeners[gateway] = await asyncio.start_server(accept, gateway, self._port)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
            finally:
                inner_writer.close()

    async def _leave(self, gateway: str) -> None:
        listener = self._listeners.pop(gateway, None)
        if listener is not None:
            listener.close()


async def _end_tasks() -> None:
    """Ends every other task of this loop, and lets what they close be closed."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carries bytes one way, and the end of them."""
    with contextlib.suppress(OSError):
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
