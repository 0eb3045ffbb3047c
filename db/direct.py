"""Statements past SQLAlchemy, on the driver's connection, for what every event passes through.

An empty transaction took 0.70 ms of processor time with a session and 0.47 ms without (2 cores,
beside other work). Handlers use sessions; the frame round them does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy.ext.asyncio import AsyncConnection

from zeitwork.errors import Conflict, DatabaseUnavailable, InvalidInput

_SOON_MS = 50

Answer: TypeAlias = "Sequence[tuple[Any, ...]] | None"  # None of a statement that answers no rows


class RowLocked(DatabaseUnavailable):
    """Somebody else holds a lock for longer than a statement waits for one."""


class Direct:
    """The connection of one transaction, seen from below."""

    def __init__(self, connection: AsyncConnection) -> None:
        """Use what a pool has handed out; the connection stays its."""
        inner = connection.sync_connection
        assert inner is not None  # noqa: S101 - it has been started
        driver: psycopg.AsyncConnection[tuple[Any, ...]] | None = inner.connection.driver_connection
        assert driver is not None  # noqa: S101 - it has been handed out
        self._driver = driver

    @property
    def closed(self) -> bool:
        return self._driver.closed

    @property
    def idle(self) -> bool:
        """Whether no transaction is open; a statement would then commit by itself."""
        return self._driver.pgconn.transaction_status == TransactionStatus.IDLE

    @property
    def sound(self) -> bool:
        """Whether a transaction is open and none of its statements has failed."""
        return self._driver.pgconn.transaction_status == TransactionStatus.INTRANS

    async def script(self, statements: str) -> Answer:
        """Run several statements in one round trip; what the first of them answers."""
        with _translated(self._driver):
            # No parameters, so the server parses it as it stands; each is unlike the last.
            cursor = await self._driver.execute(statements.encode(), prepare=False)
            return None if cursor.description is None else await cursor.fetchall()

    async def rows(
        self, statement: bytes, parameters: Mapping[str, Any]
    ) -> Sequence[tuple[Any, ...]]:
        """The rows that a statement with `%(name)s` parameters answers."""
        with _translated(self._driver):
            cursor = await self._driver.execute(statement, parameters)
            return [] if cursor.description is None else await cursor.fetchall()

    async def hurry(self) -> None:
        """Wait for no lock of others longer than 50 ms from here to the end of the transaction."""
        await self.script(f"SET LOCAL lock_timeout = {_SOON_MS}")

    async def commit(self) -> None:
        """End the transaction, if one is open.

        Raises:
            DatabaseUnavailable: the outcome is unknown.
            Conflict: a deferred rule of the tables is broken; nothing was written.
        """
        with _translated(self._driver):
            await self._driver.commit()

    async def rollback(self) -> None:
        """Take back what is open; a connection that is gone has taken it back itself."""
        if self.idle or self.closed:
            return
        with _translated(self._driver):
            await self._driver.rollback()


@contextmanager
def _translated(driver: psycopg.AsyncConnection[Any]) -> Iterator[None]:
    try:
        yield
    except psycopg.IntegrityError as error:
        raise Conflict(
            f"the change breaks a rule of the data ({error.diag.constraint_name})"
        ) from error
    except psycopg.DataError as error:
        raise InvalidInput(f"The database cannot hold a value: {first_line(error)}") from error
    except psycopg.errors.LockNotAvailable as error:
        raise RowLocked(f"PostgreSQL: {first_line(error)}") from error
    except psycopg.Error as error:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or driver.closed:
            raise DatabaseUnavailable(f"PostgreSQL: {first_line(error)}") from error
        raise


def first_line(error: BaseException | None) -> str:
    """What the server says first; what follows may quote data."""
    return str(error).strip().split("\n", 1)[0]
