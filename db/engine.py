"""The one pooled async engine: sizes, timeouts, health."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import psycopg
from pydantic import SecretStr
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

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
            async with (
                asyncio.timeout(_PROBE_SECONDS),
                translated(),
                self.engine.connect() as connection,
            ):
                await connection.execute(text("SELECT 1"))
        except TimeoutError as error:
            raise DatabaseUnavailable("PostgreSQL does not answer in time") from error

    @asynccontextmanager
    async def read(self, *, tenant: str = ALL_TENANTS) -> AsyncIterator[AsyncSession]:
        """A read-only session that sees one organisation's rows, or all of them.

        Raises:
            DatabaseUnavailable: no connection, or the statement took too long.
        """
        async with translated(), AsyncSession(self.engine, expire_on_commit=False) as session:
            await begin(session, tenant, access="READ ONLY")
            yield session


async def begin(
    session: AsyncSession,
    tenant: str,
    *,
    access: Literal["READ ONLY", "READ WRITE"],
    first: str | None = None,
) -> bool:
    """Open the transaction, and say whose rows it may see: an organisation's, or all.

    One round trip does both, and finds out whether a pooled connection still lives: nothing is
    committed on it yet, so a dead one is replaced without anybody noticing.

    Args:
        first: a statement without parameters that the same round trip is to carry.

    Returns:
        False when `first` was given and answered no row.

    Raises:
        InvalidInput: `tenant` is no organisation's id.
    """
    # Either text is safe inside quotes; several statements in one message take no parameters.
    visible = tenant if tenant == ALL_TENANTS else str(ids.to_uuid(ids.Prefix.ORGANISATION, tenant))
    opening = f"BEGIN {access}; SELECT set_config('zeitwork.organisation', '{visible}', true)"
    if first is not None:
        # The driver shows the first answer. A BEGIN takes what stands before it in its message
        # into its transaction (PostgreSQL, "Multiple Statements in a Simple Query").
        opening = f"{first}; {opening}"
    try:
        return await session.run_sync(_answered, opening)
    except DBAPIError as error:
        # A given connection is given for a lock that it holds, which a new one would not.
        if not error.connection_invalidated or isinstance(session.bind, AsyncConnection):
            raise
        # The engine now distrusts all connections that are as old: the next one is new.
        await session.rollback()
        return await session.run_sync(_answered, opening)


def _answered(session: Session, statements: str) -> bool:
    answer = session.connection().exec_driver_sql(statements)
    return not answer.returns_rows or answer.first() is not None


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn the driver's words for "away" and "no such value" into ours; other errors pass."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable(f"PostgreSQL: {_first_line(error)}") from error
    except DataError as error:
        raise InvalidInput(f"The database cannot hold a value: {_first_line(error)}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable(f"PostgreSQL: {_first_line(error)}") from error
        raise
    except StatementError as error:
        # A column type of ours refused a value (db/columns.py).
        if isinstance(error.orig, ZeitworkError):
            raise error.orig from error
        raise


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).strip().split("\n", 1)[0]


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
