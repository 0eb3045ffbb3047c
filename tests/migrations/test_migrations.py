"""Migrations go up, down and up again, leave what the models say, and take turns."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from pydantic import SecretStr

from db import migrate
from tests.support.database import execute
from zeitwork import config
from zeitwork.errors import DatabaseUnavailable
from zeitwork.subprocesses import run

SCRIPTS = Path(migrate.__file__).parent / "migrations"


def revisions() -> list[str]:
    """Oldest first."""
    scripts = ScriptDirectory(str(SCRIPTS))
    return [script.revision for script in scripts.walk_revisions()][::-1]


def tables(url: str) -> set[str]:
    statement = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    return {name for (name,) in execute(url, statement)} - {"alembic_version"}


async def test_up_down_up_equals_the_models(empty_database_url: str) -> None:
    url = SecretStr(empty_database_url)

    await migrate.upgrade(url)
    assert await migrate.current(url) == migrate.head()
    assert await migrate.differences(url) == []

    await migrate.downgrade(url, "base")
    assert await migrate.current(url) is None
    assert tables(empty_database_url) == set()

    await migrate.upgrade(url)
    await migrate.upgrade(url)
    assert await migrate.current(url) == migrate.head()
    assert await migrate.differences(url) == []


async def test_each_revision_can_be_undone_by_itself(empty_database_url: str) -> None:
    url = SecretStr(empty_database_url)
    before = set[str]()
    for revision in revisions():
        await migrate.upgrade(url, revision)
        after = tables(empty_database_url)
        await migrate.downgrade(url, "-1")
        assert tables(empty_database_url) == before
        await migrate.upgrade(url, revision)
        before = after


async def test_a_difference_is_found(migrated_url: str) -> None:
    execute(migrated_url, "ALTER TABLE nodes DROP COLUMN runtime")
    assert "runtime" in str(await migrate.differences(SecretStr(migrated_url)))


async def test_migrators_at_the_same_time_all_succeed(empty_database_url: str) -> None:
    """As processes: Alembic's context is one a process."""
    argv = [sys.executable, "-m", "cli.main", "database", "upgrade"]
    env = config.child_environment(ZEITWORK_DATABASE_URL=empty_database_url)
    done = await asyncio.gather(*(run(argv, timeout=50, env=env) for _ in range(3)))
    # One that has to wait says so first.
    said = [each.output.strip().splitlines()[-1] for each in done]
    assert said == [f"at {migrate.head()}"] * 3
    url = SecretStr(empty_database_url)
    assert await migrate.differences(url) == []


async def test_a_server_that_is_away_is_said_in_our_words() -> None:
    with pytest.raises(DatabaseUnavailable):
        await migrate.upgrade(SecretStr("postgresql://zeitwork@127.0.0.1:1/zeitwork"))


def test_revisions_are_numbered_and_in_one_line() -> None:
    names = sorted(path.name for path in (SCRIPTS / "versions").glob("*.py"))
    assert [name.split("_", 1)[0] for name in names] == revisions()
    assert revisions() == [f"{number:04}" for number in range(1, len(revisions()) + 1)]
