"""A connection to a server that a test can cut and mend: a TCP relay on a port of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.servers import free_port

_CHUNK_BYTES = 64 * 1024


class Link:
    """Relays `port` to the server at `target`; while it is cut, nothing listens there."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def cut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for writer in [*self._open]:
                writer.transport.abort()
            await server.wait_closed()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self._target)
            ends.append(to_there)
            self._open.update(ends)
            await asyncio.gather(_pump(reader, to_there), _pump(there, writer))
        except OSError:
            writer.transport.abort()  # the other end is gone; so is this one
        finally:
            self._open.difference_update(ends)
            for end in ends:
                end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def linked(target: int) -> AsyncIterator[Link]:
    link = Link(target)
    await link.mend()
    try:
        yield link
    finally:
        await link.cut()
