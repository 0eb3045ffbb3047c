"""A lock that one process holds for as long as its connection lives; PostgreSQL frees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import Database, translated
from zeitwork import clock

_RETRY_SECONDS = 1.0


class AdvisoryLock:
    """A held lock, on a connection of its own."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def check(self) -> None:
        """Make sure that the connection, and so the lock, still lives.

        Raises:
            DatabaseUnavailable: it does not; somebody else may hold the lock now.
        """
        async with translated():
            await self._connection.execute(text("SELECT 1"))


@asynccontextmanager
async def hold(database: Database, key: int) -> AsyncIterator[AdvisoryLock]:
    """Wait for the lock `key` (64 bits), hold it during the block.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    async with translated():
        opened = database.engine.execution_options(isolation_level="AUTOCOMMIT").connect()
        async with opened as connection:
            taking = text("SELECT pg_try_advisory_lock(:key)")
            while not (await connection.execute(taking, {"key": key})).scalar_one():
                await clock.sleep(_RETRY_SECONDS)
            try:
                yield AdvisoryLock(connection)
            finally:
                await connection.invalidate()
