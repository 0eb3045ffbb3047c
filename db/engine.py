"""The one pooled async engine: sizes, timeouts, health."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from pydantic import SecretStr
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from db.direct import Answer, Direct, first_line
from zeitwork import ids, metrics
from zeitwork.errors import DatabaseUnavailable, InvalidInput, InvalidSettings, ZeitworkError

ALL_TENANTS = "*"

# PostgreSQL's own limits for every statement of ours: a stuck query must not hold the pool.
_STATEMENT_TIMEOUT_MS = 10_000
_LOCK_TIMEOUT_MS = 4_000
_IDLE_IN_TRANSACTION_MS = 30_000
_CONNECT_SECONDS = 5
_POOL_WAIT_SECONDS = 5.0
_PROBE_SECONDS = 2.0
# A statement whose server is gone without a word ends after about 15 s, on either side.
_DEAD_PEER = {
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}


class Database:
    """A pool of connections; a Service. Reads go through `read`, writes through `db.session`."""

    name = "database"

    def __init__(self, url: SecretStr, *, application: str, pool_size: int = 15) -> None:
        """Connect lazily.

        Args:
            application: shown in `pg_stat_activity`.
            pool_size: connections at most; one that was opened is kept, because opening costs
                more than a transaction does.

        Raises:
            InvalidSettings: the URL cannot be parsed.
        """
        self.application = application
        self.engine = _create_engine(url, application=application, pool_size=pool_size)

    async def start(self) -> None:
        await self.probe()

    async def ready(self) -> str | None:
        try:
            await self.probe()
        except DatabaseUnavailable as error:
            return error.message
        return None

    async def stop(self) -> None:
        await self.engine.dispose()

    async def probe(self) -> None:
        """One round trip.

        Raises:
            DatabaseUnavailable: no answer within two seconds.
        """
        try:
            with translated():
                async with asyncio.timeout(_PROBE_SECONDS), self.engine.connect() as connection:
                    await connection.execute(text("SELECT 1"))
        except TimeoutError as error:
            raise DatabaseUnavailable("PostgreSQL does not answer in time") from error

    @asynccontextmanager
    async def read(self, *, tenant: str = ALL_TENANTS) -> AsyncIterator[AsyncSession]:
        """A read-only session that sees one organisation's rows, or all of them.

        Raises:
            DatabaseUnavailable: no connection, or the statement took too long.
            InvalidInput: `tenant` is no organisation's id.
        """
        opening = beginning(tenant, access="READ ONLY")
        with translated():
            async with (
                opened(self.engine, opening) as lent,
                AsyncSession(lent.connection, expire_on_commit=False) as session,
            ):
                yield session


def beginning(
    tenant: str,
    *,
    access: Literal["READ ONLY", "READ WRITE"],
    first: str | None = None,
    lock_seconds: float | None = None,
) -> str:
    """The statements that open a transaction and say whose rows it may see, in one message.

    Args:
        tenant: an organisation's id, or all.
        first: a statement without parameters that is to travel with them; what it answers is the
            answer of the whole.
        lock_seconds: how long each statement behind it waits for a lock, if less than usual.

    Raises:
        InvalidInput: `tenant` is no organisation's id.
    """
    # Either text is safe inside quotes; several statements in one message take no parameters.
    visible = tenant if tenant == ALL_TENANTS else str(ids.to_uuid(ids.Prefix.ORGANISATION, tenant))
    opening = f"BEGIN {access}; SELECT set_config('zeitwork.organisation', '{visible}', true)"
    if lock_seconds is not None:
        opening += f", set_config('lock_timeout', '{lock_seconds * 1000:.0f}', true)"
    # A BEGIN takes what stands before it in its message into its transaction (PostgreSQL,
    # "Multiple Statements in a Simple Query").
    return opening if first is None else f"{first}; {opening}"


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection in a transaction, both from above and from below.

    Attributes:
        answer: what the first statement of the opening answered.
    """

    connection: AsyncConnection
    direct: Direct
    answer: Answer


@asynccontextmanager
async def opened(engine: AsyncEngine, opening: str) -> AsyncIterator[Opened]:
    """Lend a connection of the pool on which `opening` has run; what is not committed is undone.

    The opening finds out whether a pooled connection still lives: nothing is committed on it yet,
    so a dead one is replaced without anybody noticing.

    Raises:
        DatabaseUnavailable: no connection.
    """
    lent = await _open(engine, opening)
    if lent is None:
        lent = await _open(engine, opening, last=True)
    assert lent is not None  # noqa: S101 - the last one raises
    try:
        yield lent
    finally:
        await _give_back(lent.connection, lent.direct)


async def _open(engine: AsyncEngine, opening: str, *, last: bool = False) -> Opened | None:
    """None when the pool handed out a dead one and now knows, unless it is the `last` try."""
    connection = await engine.connect()
    direct = Direct(connection)
    try:
        return Opened(connection, direct, await direct.script(opening))
    except BaseException as error:
        died = direct.closed and isinstance(error, DatabaseUnavailable)
        if died:
            await distrust(connection)
        await _give_back(connection, direct)
        if last or not died:
            raise
        return None


async def _give_back(connection: AsyncConnection, direct: Direct) -> None:
    """To the pool; one that broke meanwhile is dropped."""
    if direct.closed and not connection.invalidated:
        await connection.invalidate()
    await connection.close()


async def distrust(connection: AsyncConnection) -> None:
    """Let the pool see that this one is dead: it then replaces all that are as old."""
    with suppress(DBAPIError):
        await connection.exec_driver_sql("SELECT 1")


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's words for "away" and "no such value" into ours; other errors pass."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable(f"PostgreSQL: {_said(error)}") from error
    except DataError as error:
        raise InvalidInput(f"The database cannot hold a value: {_said(error)}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable(f"PostgreSQL: {_said(error)}") from error
        raise
    except StatementError as error:
        # A column type of ours refused a value (db/columns.py).
        if isinstance(error.orig, ZeitworkError):
            raise error.orig from error
        raise


def _said(error: Exception) -> str:
    return first_line(error.orig if isinstance(error, DBAPIError) else error)


def driver_url(url: SecretStr) -> str:
    """The URL in SQLAlchemy's spelling for psycopg.

    Raises:
        InvalidSettings: it cannot be parsed.
    """
    try:
        parsed = make_url(url.get_secret_value())
    except Exception as error:
        raise InvalidSettings("ZEITWORK_DATABASE_URL is not a PostgreSQL URL") from error
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise InvalidSettings("ZEITWORK_DATABASE_URL must start with postgresql://")
    return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _create_engine(url: SecretStr, *, application: str, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(
        driver_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_SECONDS,
        pool_recycle=1800,
        pool_use_lifo=True,
        # The driver opens no transaction by itself, which would take a round trip: `begin` does.
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args={
            "async_creator_fn": _connection,
            "connect_timeout": _CONNECT_SECONDS,
            **_DEAD_PEER,
            "application_name": f"zeitwork-{application}",
            "options": (
                f"-c statement_timeout={_STATEMENT_TIMEOUT_MS}"
                f" -c lock_timeout={_LOCK_TIMEOUT_MS}"
                f" -c idle_in_transaction_session_timeout={_IDLE_IN_TRANSACTION_MS}"
                " -c timezone=UTC"
                " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=2"
            ),
        },
    )
    gauge = metrics.DATABASE_CONNECTIONS
    event.listen(engine.sync_engine, "checkout", lambda *_: gauge.inc())
    event.listen(engine.sync_engine, "checkin", lambda *_: gauge.dec())
    return engine


async def _connection(conninfo: str = "", **params: Any) -> psycopg.AsyncConnection[Any]:
    """Connect as psycopg does, but leave nothing half open.

    A connect that is cancelled or times out lives on in the frames of its own error, a cycle, and
    its socket with them: PostgreSQL keeps a session that it can neither use nor end.
    """
    try:
        return await psycopg.AsyncConnection.connect(conninfo, **params)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise
