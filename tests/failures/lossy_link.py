"""A way to PostgreSQL that loses the answer to a COMMIT: the outcome is unknown to who asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from tests.support.servers import free_port

_CHUNK_BYTES = 64 * 1024
_COMMIT = b"COMMIT\0"  # as a simple query ends, which is how psycopg sends it
_ENDS = (_COMMIT, b"ROLLBACK\0")
_EVENT = b"zw.evt."  # how the subject of an event begins

Loses = Literal["saying", "taking"]


@dataclass(slots=True)
class _Session:
    """One connection: whether its transaction carries an event, and whether it is to be cut."""

    carries: bool = False
    losing: bool = False


class LossyLink:
    """Relays `port` to the server at `target`; some COMMITs are made and not answered.

    Those of transactions that carry an event: that say it (it is in what is asked), or that take
    it off the outbox (it is in an answer). All others, such as the looks of an idle relay, pass.

    Attributes:
        lost: answers that were swallowed, the connection with each.
    """

    def __init__(self, target: int, *, loses: Loses, each: int, most: int) -> None:
        self.port = free_port()
        self.lost = 0
        self._target = target
        self._loses = loses
        self._each = each
        self._most = most
        self._commits = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        session = _Session()
        try:
            await asyncio.gather(
                self._ask(reader, to_there, session), self._answer(there, writer, session)
            )
        except OSError:
            pass  # either end is gone, and so is the other one now
        finally:
            writer.transport.abort()
            to_there.transport.abort()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: _Session
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            session.carries |= self._loses == "saying" and _EVENT in data
            if _COMMIT in data and session.carries:
                session.losing = self._is_lost()
            if any(end in data for end in _ENDS):
                session.carries = False
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: _Session
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            if session.losing:
                # The server has answered, so it has committed; nobody will hear of it.
                raise ConnectionAbortedError
            session.carries |= self._loses == "taking" and _EVENT in data
            writer.write(data)
            await writer.drain()
        writer.close()

    def _is_lost(self) -> bool:
        self._commits += 1
        lost = self._commits % self._each == 0 and self.lost < self._most
        self.lost += lost
        return lost


@asynccontextmanager
async def lossy(target: int, *, loses: Loses, each: int, most: int) -> AsyncIterator[LossyLink]:
    link = LossyLink(target, loses=loses, each=each, most=most)
    server = await asyncio.start_server(link.relay, "127.0.0.1", link.port)
    try:
        yield link
    finally:
        server.close()
