"""Bring a database's schema to a revision, or say how it differs from the models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from db import models
from db.engine import driver_url, translated
from db.queries import event_log

_SCRIPTS = Path(__file__).parent / "migrations"
_PARTITION_DAYS_AHEAD = 7
_CONNECT_SECONDS = 5
_Result = TypeVar("_Result")


async def upgrade(url: SecretStr, revision: str = "head") -> None:
    """Migrate up; nothing happens when the schema is there already.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    await _with_connection(url, lambda config: command.upgrade(config, revision))
    if revision == "head":
        await _in_transaction(
            url, lambda connection: event_log.create_partitions(connection, _PARTITION_DAYS_AHEAD)
        )


async def downgrade(url: SecretStr, revision: str) -> None:
    """Migrate down to `revision` ("base" empties the database)."""
    await _with_connection(url, lambda config: command.downgrade(config, revision))


async def current(url: SecretStr) -> str | None:
    """The revision that the database is at."""
    return await _in_transaction(
        url, lambda connection: MigrationContext.configure(connection).get_current_revision()
    )


def head() -> str | None:
    """The newest revision of this program."""
    return ScriptDirectory(str(_SCRIPTS)).get_current_head()


async def differences(url: SecretStr) -> list[Any]:
    """How the schema differs from the models; empty when they are equal."""

    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": _known_table,
            },
        )
        return list(compare_metadata(context, models.Base.metadata))

    return await _in_transaction(url, compare)


def _known_table(name: str | None, kind: str, _parents: Any) -> bool:
    # Partitions of event_log come and go with the days; the models know only the parent.
    return not (kind == "table" and name is not None and name.startswith("event_log_"))


async def _with_connection(url: SecretStr, run: Callable[[Config], None]) -> None:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))

    def go(connection: Connection) -> None:
        config.attributes["connection"] = connection
        run(config)

    await _in_transaction(url, go)


async def _in_transaction(url: SecretStr, run: Callable[[Connection], _Result]) -> _Result:
    engine = create_async_engine(
        driver_url(url),
        poolclass=pool.NullPool,
        connect_args={"connect_timeout": _CONNECT_SECONDS},
    )
    try:
        with translated():
            async with engine.begin() as connection:
                return await connection.run_sync(run)
    finally:
        await engine.dispose()
