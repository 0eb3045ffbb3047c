"""A lock that one process holds for as long as its connection lives; PostgreSQL frees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import translated
from db.session import Transaction, UnitOfWork
from zeitwork import clock

_RETRY_SECONDS = 0.25
_IDLE_SECONDS = 5  # a holder that asks nothing for so long hangs; PostgreSQL ends its session


class Held:
    """A lock that is held, and transactions that can commit only while it is."""

    def __init__(self, work: UnitOfWork, connection: AsyncConnection) -> None:
        self._work = work
        self._connection = connection

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction in the session of the lock; see `UnitOfWork.transaction`.

        When the session ends PostgreSQL rolls this back first and frees the lock then.
        """
        return self._work.transaction(connection=self._connection)


@asynccontextmanager
async def hold(work: UnitOfWork, key: int) -> AsyncIterator[Held]:
    """Wait for the lock `key` (64 bits), hold it during the block.

    The lock is lost when no transaction of its own is begun for five seconds.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    with translated():
        async with work.database.engine.connect() as connection:
            held = Held(work, connection)
            try:
                while not await _take(held, key):
                    await clock.sleep(_RETRY_SECONDS)
                yield held
            finally:
                await connection.invalidate()  # the lock and the setting belong to the session


async def _take(held: Held, key: int) -> bool:
    async with held.transaction() as tx:
        await tx.session.execute(
            text("SELECT set_config('idle_session_timeout', :limit, false)"),
            {"limit": f"{_IDLE_SECONDS}s"},
        )
        taken = await tx.session.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key})
        return bool(taken.scalar_one())
