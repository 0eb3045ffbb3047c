"""Alembic's entry: one migrator at a time, short locks, one transaction for everything."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from db import models

_LOCK = 0x5A45_4954  # "ZEIT": one advisory lock for all migrators


def run(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    connection.execute(text("SET LOCAL lock_timeout = '4s'"))
    connection.execute(text("SET LOCAL statement_timeout = '60s'"))
    context.configure(
        connection=connection,
        target_metadata=models.Base.metadata,
        compare_type=True,
        compare_server_default=True,
    )
    context.run_migrations()


run(context.config.attributes["connection"])
