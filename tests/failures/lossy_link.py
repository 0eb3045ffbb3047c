"""A way to PostgreSQL that loses the answer to a COMMIT: the outcome is unknown to who asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.servers import free_port

_CHUNK_BYTES = 64 * 1024
_COMMIT = b"COMMIT\0"  # as a simple query ends, which is how psycopg sends it


class LossyLink:
    """Relays `port` to the server at `target`; every `each`th COMMIT is made and not answered.

    Attributes:
        lost: answers that were swallowed, the connection with each.
    """

    def __init__(self, target: int, *, each: int, most: int) -> None:
        self.port = free_port()
        self.lost = 0
        self._target = target
        self._each = each
        self._most = most
        self._commits = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        losing = asyncio.Event()
        try:
            await asyncio.gather(
                self._ask(reader, to_there, losing), _answer(there, writer, losing)
            )
        except OSError:
            pass  # either end is gone, and so is the other one now
        finally:
            writer.transport.abort()
            to_there.transport.abort()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            if _COMMIT in data and self._is_lost():
                losing.set()
            writer.write(data)
            await writer.drain()
        writer.close()

    def _is_lost(self) -> bool:
        self._commits += 1
        lost = self._commits % self._each == 0 and self.lost < self._most
        self.lost += lost
        return lost


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        if losing.is_set():
            # The server has answered, so it has committed; nobody will hear of it.
            raise ConnectionAbortedError
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def lossy(target: int, *, each: int, most: int) -> AsyncIterator[LossyLink]:
    link = LossyLink(target, each=each, most=most)
    server = await asyncio.start_server(link.relay, "127.0.0.1", link.port)
    try:
        yield link
    finally:
        server.close()
