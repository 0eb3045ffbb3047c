"""A migrated database of its own for each test, copied from a template that is made once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from db import migrate
from db.engine import Database
from db.session import UnitOfWork
from tests.support.servers import PostgresAdmin, ServerHost, database_name


@pytest.fixture(scope="session")
def migrated_template(server_host: ServerHost, postgres_admin: PostgresAdmin) -> str:
    """The name of a migrated, empty database that nobody is connected to."""
    url = postgres_admin.create_database()
    server_host.run(migrate.upgrade(SecretStr(url)))
    return database_name(url)


@pytest.fixture
def migrated_url(postgres_admin: PostgresAdmin, migrated_template: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    url = postgres_admin.create_database(template=migrated_template)
    yield url
    postgres_admin.drop_database(url)


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    database = Database(SecretStr(migrated_url), application="test", pool_size=10)
    yield database
    await database.stop()


@pytest.fixture
def work(database: Database) -> UnitOfWork:
    return UnitOfWork(database)


def execute(url: str, statement: str, *, tenant: str | None = None) -> list[tuple[Any, ...]]:
    """Run a statement by hand, past our own code; its rows, if it has any.

    Args:
        tenant: what `zeitwork.organisation` says meanwhile; unset by default.
    """
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        if tenant is not None:
            connection.execute("SELECT set_config('zeitwork.organisation', %s, false)", [tenant])
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []
