"""A container's server that answers at once: what is left of an invocation's time is the service's."""

from __future__ import annotations

import asyncio
import os

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n" + b'{"label": 1}\n'
)


class Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.data = bytearray()
        self.wanted = 0

    def data_received(self, data: bytes) -> None:
        self.data += data
        if not self.wanted:
            head, end, _ = self.data.partition(b"\r\n\r\n")
            if not end:
                return
            lengths = [
                int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            ]
            self.wanted = len(head) + 4 + sum(lengths)
        if len(self.data) >= self.wanted:
            del self.data[: self.wanted]
            self.wanted = 0
            self.transport.write(ANSWER)  # type: ignore[attr-defined]


async def main() -> None:
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main())
