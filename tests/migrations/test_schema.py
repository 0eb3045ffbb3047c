"""The migrations: up, down, up, equal to the models, safe to run by several processes at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.script import ScriptDirectory
from pydantic import SecretStr

from db import migrate
from zeitwork.errors import DatabaseUnavailable


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def tables(url: str) -> set[str]:
    return {
        name
        for (name,) in query(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    }


async def test_up_down_up_ends_where_it_began(empty_database_url: str) -> None:
    url = SecretStr(empty_database_url)
    assert await migrate.current(url) is None

    await migrate.upgrade(url)
    first = tables(empty_database_url)
    assert await migrate.current(url) == migrate.head()

    await migrate.downgrade(url, "base")
    assert tables(empty_database_url) == {"alembic_version"}

    await migrate.upgrade(url)
    assert tables(empty_database_url) == first


async def test_each_revision_can_be_undone_by_itself(empty_database_url: str) -> None:
    url = SecretStr(empty_database_url)
    before = set[str]()
    for revision in revisions():
        await migrate.upgrade(url, revision)
        after = tables(empty_database_url)
        await migrate.downgrade(url, "-1")
        assert tables(empty_database_url) - {"alembic_version"} == before
        await migrate.upgrade(url, revision)
        before = after - {"alembic_version"}


async def test_the_schema_is_that_of_the_models(migrated_url: str) -> None:
    assert await migrate.differences(SecretStr(migrated_url)) == []


async def test_a_difference_is_found(migrated_url: str) -> None:
    query(
        migrated_url,
        ["ALTER TABLE nodes DROP COLUMN runtime", "URNING 1"][0] + "; SELECT 1",
    )
    found = await migrate.differences(SecretStr(migrated_url))
    assert "runtime" in str(found)


async def test_a_second_upgrade_changes_nothing(migrated_url: str) -> None:
    before = tables(migrated_url)
    await migrate.upgrade(SecretStr(migrated_url))
    assert tables(migrated_url) == before


async def test_migrators_at_the_same_time_all_succeed(empty_database_url: str) -> None:
    url = SecretStr(empty_database_url)
    await asyncio.gather(*(migrate.upgrade(url) for _ in range(4)))
    assert await migrate.current(url) == migrate.head()


async def test_partitions_are_made_by_one_process_at_a_time(empty_database_url: str) -> None:
    """Without its lock, IF NOT EXISTS lets the second of two processes fail."""
    url = SecretStr(empty_database_url)
    await migrate.upgrade(url)
    days = [name for name in tables(empty_database_url) if name.startswith("event_log_2")]
    for _ in range(5):
        query(empty_database_url, "; ".join(f"DROP TABLE {name}" for name in days) + "; SELECT 1")
        await asyncio.gather(*(migrate.upgrade(url) for _ in range(4)))
        assert tables(empty_database_url) >= set(days)


async def test_a_server_that_is_away_is_said_in_our_words() -> None:
    url = SecretStr("postgresql://zeitwork@127.0.0.1:1/zeitwork")
    with pytest.raises(DatabaseUnavailable):
        await migrate.upgrade(url)


def revisions() -> list[str]:
    scripts = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    return [script.revision for script in scripts.walk_revisions()][::-1]


def test_revisions_are_numbered_and_in_one_line() -> None:
    assert revisions() == [f"{number:04}" for number in range(1, len(revisions()) + 1)]
    folder = Path(migrate.__file__).parent / "migrations" / "versions"
    names = sorted(path.name for path in folder.glob("[0-9]*.py"))
    assert [name[:4] for name in names] == revisions()
    assert all(name[4] == "_" for name in names)
    assert sorted(path.name for path in folder.glob("*.py")) == names


# --- Partitions ----------------------------------------------------------------------------------


def partition_counts(url: str) -> dict[str, int]:
    rows = (
        query(
            url,
            "SELECT set_config('zeitwork.organisation', '*', false);"
            "SELECT tableoid::regclass::text, count(*) FROM event_log GROUP BY 1",
        )
        if False
        else []
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT set_config('zeitwork.organisation', '*', false)")
        rows = connection.execute(
            "SELECT tableoid::regclass::text, count(*) FROM event_log GROUP BY 1"
        ).fetchall()
    return dict(rows)
