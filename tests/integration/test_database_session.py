"""Transactions: versions, time-outs, foreign errors in our words, and one tenant's rows only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from psycopg.errors import InsufficientPrivilege
from pydantic import SecretStr
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from db.engine import Database, driver_url
from db.models import Environment, Organisation, Project
from db.queries.projects import environment_lock
from db.session import Stale, UnitOfWork
from events.nodes import NodeReady
from tests.support.database import execute
from tests.support.factories import Site, add_organisation, add_site, events_of, every, fetch, touch
from zeitwork import ids
from zeitwork.errors import Conflict, DatabaseUnavailable, InvalidInput, InvalidSettings


@pytest.fixture
async def site(work: UnitOfWork) -> Site:
    return await add_site(work)


@pytest.fixture
async def narrow(migrated_url: str) -> AsyncIterator[Database]:
    """A pool of one connection."""
    database = Database(SecretStr(migrated_url), application="narrow", pool_size=1)
    yield database
    await database.stop()


async def test_of_two_who_change_the_same_version_one_is_stale(
    work: UnitOfWork, site: Site
) -> None:
    async def change_late() -> None:
        async with work.transaction() as late:
            environment = await late.session.get_one(Environment, site.environment.id)
            async with work.transaction() as early:
                await touch(early, site.environment.id)
            environment.last_number = 50
            late.emit(NodeReady(node_id="n"), subject="n")

    with pytest.raises(Stale) as caught:
        await change_late()
    assert caught.value.retryable
    kept = await fetch(work, Environment, site.environment.id)
    assert (kept.last_number, kept.version) == (1, 2)
    assert await events_of(work.database, type_=NodeReady.event_type) == []


async def test_those_who_lock_first_all_count(work: UnitOfWork, site: Site) -> None:
    all_looked = asyncio.Barrier(8)

    async def count() -> None:
        async with work.transaction() as tx:
            # Known from before the lock, as in handlers that look first.
            await tx.session.get_one(Environment, site.environment.id)
            await all_looked.wait()
            environment = await environment_lock(tx.session, site.environment.id)
            environment.last_number += 1

    await asyncio.gather(*(count() for _ in range(8)))
    assert (await fetch(work, Environment, site.environment.id)).last_number == 8


async def test_a_statement_that_takes_too_long_means_unavailable(database: Database) -> None:
    async def sleep() -> None:
        async with database.read() as session:
            await session.execute(text("SET LOCAL statement_timeout = '50ms'"))
            await session.execute(text("SELECT pg_sleep(30)"))

    with pytest.raises(DatabaseUnavailable, match="statement timeout"):
        await sleep()


async def test_a_lock_that_takes_too_long_means_unavailable(work: UnitOfWork, site: Site) -> None:
    async def wait() -> None:
        async with work.transaction() as tx:
            await tx.session.execute(text("SET LOCAL lock_timeout = '50ms'"))
            await environment_lock(tx.session, site.environment.id)

    async with work.transaction() as holder:
        await environment_lock(holder.session, site.environment.id)
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            await wait()


async def test_every_connection_has_limits(database: Database) -> None:
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    async with database.read() as session:
        limits = [(await session.execute(text(f"SHOW {name}"))).scalar_one() for name in names]
    assert limits == ["10s", "4s", "30s"]


async def test_a_deadlock_ends_one_of_the_two_and_the_other_goes_on(
    work: UnitOfWork, site: Site
) -> None:
    twin = await add_site(work)
    both = asyncio.Barrier(2)

    async def lock(first: Site, second: Site) -> None:
        async with work.transaction() as tx:
            await environment_lock(tx.session, first.environment.id)
            await both.wait()
            await environment_lock(tx.session, second.environment.id)

    answers = await asyncio.gather(lock(site, twin), lock(twin, site), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == [
        "DatabaseUnavailable",
        "NoneType",
    ]


async def test_a_connection_that_is_cut_means_unavailable_and_the_pool_recovers(
    work: UnitOfWork, migrated_url: str
) -> None:
    async def lose_connection() -> None:
        async with work.transaction() as tx:
            pid = (await tx.session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            execute(migrated_url, f"SELECT pg_terminate_backend({pid})")
            tx.emit(NodeReady(node_id="n"), subject="n")

    with pytest.raises(DatabaseUnavailable):
        await lose_connection()
    assert await events_of(work.database) == []
    assert await work.database.ready() is None


async def test_pooled_connections_that_died_meanwhile_are_replaced_unnoticed(
    work: UnitOfWork, migrated_url: str
) -> None:
    """PostgreSQL was restarted: every connection that the pool keeps is dead."""
    both = asyncio.Barrier(2)

    async def use() -> None:
        async with work.transaction():
            await both.wait()

    await asyncio.gather(use(), use())
    execute(
        migrated_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    await asyncio.gather(use(), use())
    async with work.database.read() as session:
        assert (await session.execute(text("SHOW transaction_read_only"))).scalar_one() == "on"


async def test_a_connection_that_was_given_for_its_lock_is_never_replaced(
    work: UnitOfWork, migrated_url: str
) -> None:
    async with work.database.engine.connect() as connection:
        async with work.transaction(connection=connection) as tx:
            pid = (await tx.session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        execute(migrated_url, f"SELECT pg_terminate_backend({pid})")
        with pytest.raises(DatabaseUnavailable):
            async with work.transaction(connection=connection):
                raise AssertionError("begun on another connection, which holds no lock")


async def test_an_exhausted_pool_and_an_absent_server_mean_unavailable(narrow: Database) -> None:
    narrow.engine.sync_engine.pool._timeout = 0.05  # type: ignore[attr-defined]
    async with narrow.read():
        with pytest.raises(DatabaseUnavailable):
            async with narrow.read():
                pass
    nowhere = Database(SecretStr("postgresql://u:secret@127.0.0.1:1/none"), application="test")
    reason = await nowhere.ready()
    assert reason is not None
    assert "secret" not in reason
    with pytest.raises(DatabaseUnavailable):
        await nowhere.start()


async def test_a_broken_rule_is_a_conflict_that_names_it(work: UnitOfWork) -> None:
    await add_organisation(work, "acme")
    with pytest.raises(Conflict, match="uq_organisations_slug"):
        await add_organisation(work, "acme")


@pytest.mark.parametrize("value", ["x" * 300, "a\x00b"])
async def test_a_value_that_no_column_holds_is_the_callers_fault(
    work: UnitOfWork, value: str
) -> None:
    with pytest.raises(InvalidInput):
        async with work.transaction() as tx:
            tx.session.add(Organisation(id=ids.new(ids.Prefix.ORGANISATION), slug="s", name=value))


@pytest.mark.parametrize("id_", ["", "nonsense", "org_00000000000000000000000000", "prj_zz"])
async def test_an_id_that_is_none_is_the_callers_fault(database: Database, id_: str) -> None:
    with pytest.raises(InvalidInput, match="not an id"):
        async with database.read() as session:
            await session.get(Project, id_)


async def test_reads_cannot_write(database: Database, site: Site) -> None:
    with pytest.raises(Exception, match="read-only transaction"):
        async with database.read() as session:
            await session.execute(text("UPDATE environments SET last_number = 9"))


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://u@h/d", "postgresql://h:port/d"])
def test_a_url_that_is_not_postgresql_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings):
        driver_url(SecretStr(url))


async def test_a_tenants_transaction_sees_and_changes_its_own_rows_only(
    work: UnitOfWork, site: Site
) -> None:
    other = await add_site(work)
    async with work.transaction(tenant=site.organisation_id) as tx:
        found = (await tx.session.scalars(select(Project))).all()
        assert [project.id for project in found] == [site.project.id]
        assert await tx.session.get(Environment, other.environment.id) is None
        await tx.session.execute(text("UPDATE projects SET name = 'mine', version = version + 1"))
    names = {project.id: project.name for project in await every(work, Project)}
    assert names == {site.project.id: "mine", other.project.id: other.project.name}


async def test_a_swallowed_error_of_the_database_keeps_no_event(
    work: UnitOfWork, site: Site
) -> None:
    before = len(await events_of(work.database))
    with pytest.raises(RuntimeError, match="swallowed"):  # noqa: PT012 - the whole transaction is meant
        async with work.transaction() as tx:
            same = await tx.session.get_one(Project, site.project.id)
            values = {c.name: getattr(same, c.name) for c in Project.__table__.columns}
            tx.session.add(Project(**values | {"id": ids.new(ids.Prefix.PROJECT)}))
            with suppress(IntegrityError):
                await tx.session.flush()
            tx.emit(NodeReady(node_id="n"), subject="n")
    assert len(await events_of(work.database)) == before


async def test_a_tenants_transaction_cannot_write_for_another_nor_for_the_platform(
    work: UnitOfWork, site: Site
) -> None:
    stranger = await add_organisation(work)
    before = len(await events_of(work.database))
    for organisation_id in (stranger, None):
        with pytest.raises(InsufficientPrivilege, match="row-level security"):
            async with work.transaction(tenant=site.organisation_id) as tx:
                tx.emit(NodeReady(node_id="n"), subject="n", organisation_id=organisation_id)
    async with work.transaction(tenant=site.organisation_id) as tx:
        tx.emit(NodeReady(node_id="n"), subject="n", organisation_id=site.organisation_id)
    assert len(await events_of(work.database)) == before + 1


async def test_a_tenant_does_not_outlive_its_transaction_on_the_connection(
    narrow: Database, site: Site
) -> None:
    """The next user of the pooled connection must not inherit it, nor see all by accident."""
    work = UnitOfWork(narrow)
    async with narrow.read() as session:
        pid = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    for block in (work.transaction(tenant=site.organisation_id), work.transaction()):
        async with block:
            pass
        async with narrow.engine.connect() as connection:
            assert (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one() == pid
            rows = await connection.execute(text("SELECT 1 FROM projects"))
            assert rows.all() == []
    async with narrow.read(tenant=site.organisation_id) as session:
        assert len((await session.scalars(select(Project))).all()) == 1


@pytest.mark.parametrize("tenant", ["", "acme", "prj_00000000000000000000000000"])
async def test_a_tenant_that_is_no_organisation_is_refused(work: UnitOfWork, tenant: str) -> None:
    with pytest.raises(InvalidInput):
        async with work.transaction(tenant=tenant):
            raise AssertionError("let in")
