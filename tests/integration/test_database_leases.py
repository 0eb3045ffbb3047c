"""One holder at a time: leases by the database's clock, advisory locks by their connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from db import advisory, leases
from db.engine import Database
from db.leased import LeasedLoop
from db.session import UnitOfWork
from events.nodes import NodeReady
from tests.support.database import execute
from tests.support.eventually import eventually
from tests.support.factories import MovableClock, events_of
from zeitwork import clock, ids
from zeitwork.errors import DatabaseUnavailable

KEY = 0x5A57_7465_7374


@pytest.fixture
def one() -> UUID:
    return ids.new_uuid()


@pytest.fixture
def other() -> UUID:
    return ids.new_uuid()


@pytest.fixture
async def rival(migrated_url: str) -> AsyncIterator[Database]:
    """Another process's pool."""
    database = Database(SecretStr(migrated_url), application="rival")
    yield database
    await database.stop()


@pytest.fixture
def rivals(rival: Database) -> UnitOfWork:
    return UnitOfWork(rival)


def expire(url: str, name: str) -> None:
    """Let the lease's time be over, by the database's clock."""
    statement = "UPDATE leases SET expires_at = now() - interval '1 second' WHERE name = "
    execute(url, f"{statement}'{name}'")


async def test_while_one_holds_it_nobody_else_gets_it(
    work: UnitOfWork, one: UUID, other: UUID
) -> None:
    assert await leases.take(work, "job", holder=one, seconds=60) == 1
    assert await leases.take(work, "job", holder=other, seconds=60) is None
    assert await leases.take(work, "job", holder=one, seconds=60) == 1
    assert await leases.take(work, "another", holder=other, seconds=60) == 1


async def test_the_token_grows_with_every_new_holder(
    work: UnitOfWork, migrated_url: str, one: UUID, other: UUID
) -> None:
    tokens = []
    for holder in (one, other, one, other):
        tokens.append(await leases.take(work, "job", holder=holder, seconds=60))
        expire(migrated_url, "job")
    assert tokens == [1, 2, 3, 4]


async def test_giving_it_back_lets_the_next_in_with_a_new_token(
    work: UnitOfWork, one: UUID, other: UUID
) -> None:
    await leases.take(work, "job", holder=one, seconds=60)
    await leases.release(work, "job", holder=other)  # not its own: nothing happens
    assert await leases.take(work, "job", holder=other, seconds=60) is None
    await leases.release(work, "job", holder=one)
    assert await leases.take(work, "job", holder=other, seconds=60) == 2


async def test_a_wrong_clock_of_a_process_means_nothing(
    work: UnitOfWork, migrated_url: str, one: UUID, other: UUID
) -> None:
    await leases.take(work, "job", holder=one, seconds=60)
    with clock.using(MovableClock()) as time:
        time.advance(24 * 3600)
        assert await leases.take(work, "job", holder=other, seconds=60) is None
    expire(migrated_url, "job")
    with clock.using(MovableClock()) as time:
        time.advance(-24 * 3600)
        assert await leases.take(work, "job", holder=other, seconds=60) == 2


async def test_of_many_who_ask_at_once_one_gets_it(work: UnitOfWork) -> None:
    holders = [ids.new_uuid() for _ in range(10)]
    taken = await asyncio.gather(
        *(leases.take(work, "job", holder=holder, seconds=60) for holder in holders)
    )
    assert sorted(token for token in taken if token is not None) == [1]


async def test_a_leased_loop_runs_in_one_process_and_moves_when_that_one_stops(
    work: UnitOfWork,
) -> None:
    ran: list[str] = []

    def loop(name: str) -> LeasedLoop:
        async def round_() -> None:
            ran.append(name)

        return LeasedLoop("job", round_, work=work, holder=ids.new_uuid(), interval=0.02)

    first, second = loop("first"), loop("second")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(second.stop)
        stack.push_async_callback(first.stop)
        await first.start()
        await eventually(lambda: len(ran) >= 1)
        await second.start()
        await eventually(lambda: len(ran) >= 5)
        assert set(ran) == {"first"}
        await first.stop()  # gives the lease back
        ran.clear()
        await eventually(lambda: len(ran) >= 2)
        assert set(ran) == {"second"}


async def test_a_leased_loop_stops_without_its_database(work: UnitOfWork) -> None:
    nowhere = Database(SecretStr("postgresql://u@127.0.0.1:1/none"), application="test")
    ran = asyncio.Event()

    async def round_() -> None:
        ran.set()

    loop = LeasedLoop("job", round_, work=UnitOfWork(nowhere), holder=ids.new_uuid(), interval=3600)
    await loop.start()
    await loop.stop()
    await nowhere.stop()
    assert not ran.is_set()


async def test_an_advisory_lock_is_held_by_one_at_a_time(
    work: UnitOfWork, rivals: UnitOfWork
) -> None:
    order: list[str] = []
    asked = asyncio.Event()

    async def second() -> None:
        asked.set()
        async with advisory.hold(rivals, KEY):
            order.append("second in")

    async with advisory.hold(work, KEY) as held:
        waiting = asyncio.create_task(second())
        await asked.wait()
        async with advisory.hold(rivals, KEY + 1):  # another lock is free
            assert await backend(held)
        order.append("first out")
    await waiting
    assert order == ["first out", "second in"]


async def test_a_holder_whose_session_was_ended_can_do_nothing_more(
    work: UnitOfWork, rivals: UnitOfWork, migrated_url: str
) -> None:
    """Neither what it was doing nor, on a new session, something else."""
    async with AsyncExitStack() as stack:
        held = await stack.enter_async_context(advisory.hold(work, KEY))

        async def lose_it_in_the_middle() -> None:
            async with held.transaction() as tx:
                tx.emit(NodeReady(node_id="nod"), subject="nod")
                execute(migrated_url, END_HOLDERS)

        with pytest.raises(DatabaseUnavailable):
            await lose_it_in_the_middle()
        async with advisory.hold(rivals, KEY) as successor:
            assert await backend(successor)
            for _ in range(2):
                with pytest.raises(DatabaseUnavailable):
                    await backend(held)
    assert await events_of(work.database) == []
    async with advisory.hold(work, KEY) as again:
        assert await backend(again)


async def test_a_dead_connection_taken_for_a_lock_lets_the_pool_replace_its_siblings(
    work: UnitOfWork, migrated_url: str
) -> None:
    """PostgreSQL was restarted. Otherwise each connection of the pool would fail one attempt."""
    all_in = asyncio.Barrier(3)

    async def use() -> None:
        async with work.transaction():
            await all_in.wait()

    await asyncio.gather(use(), use(), use())
    execute(migrated_url, END_OTHERS)
    with pytest.raises(DatabaseUnavailable):
        async with advisory.hold(work, KEY):
            raise AssertionError("held on a dead connection")
    # Two at once: the pool hands out the place of the one that failed first.
    async with advisory.hold(work, KEY) as held, advisory.hold(work, KEY + 1) as other:
        assert await backend(held) != await backend(other)


async def test_a_holder_that_hangs_loses_its_lock(work: UnitOfWork, rivals: UnitOfWork) -> None:
    async with advisory.hold(work, KEY) as held:
        async with asyncio.timeout(30), advisory.hold(rivals, KEY) as successor:
            assert await backend(successor)
        with pytest.raises(DatabaseUnavailable):
            await backend(held)


async def test_a_lock_is_free_after_its_block_also_after_an_error(
    work: UnitOfWork, rivals: UnitOfWork
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with advisory.hold(work, KEY):
            raise ZeroDivisionError
    async with asyncio.timeout(10), advisory.hold(rivals, KEY):
        pass


END_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend'
"""
END_HOLDERS = """
    SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def backend(held: advisory.Held) -> int:
    """The process of PostgreSQL's that serves the lock's session."""
    async with held.transaction() as tx:
        pid: int = (await tx.session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        return pid
