"""Messages that share a transaction when PostgreSQL fails at the worst moment, or another waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url

from consumers.binding import Binding
from consumers.handling import FactHandler, once
from consumers.memory_runtime import MemoryRuntime
from consumers.outcomes import Done, Outcome
from consumers.together import OneTransaction
from db.engine import Database
from db.models import Organisation
from db.queries.organisations import organisation_find
from db.session import Transaction, UnitOfWork
from events.builds import BuildStarted
from events.memory import MemoryBus
from events.streams import Durable
from tests.contracts.bus import scope
from tests.contracts.consumption import own_durable, started
from tests.contracts.together import Founder, bound, builds, founded, shared
from tests.failures.lossy_link import lossy
from tests.support.eventually import eventually
from tests.support.factories import add_organisation, events_of, every
from zeitwork import ids
from zeitwork.errors import DatabaseUnavailable


@pytest.fixture
def project() -> str:
    return scope()


@asynccontextmanager
async def running(bus: MemoryBus, *bindings: Binding) -> AsyncIterator[None]:
    runtime = MemoryRuntime(bus, bindings, graceful_seconds=5)
    await runtime.start()
    try:
        yield
    finally:
        await runtime.stop()


def settled(bus: MemoryBus, *durables: Durable) -> Callable[[], bool]:
    return lambda: all(bus.durable(durable).settled for durable in durables)


def binding(work: UnitOfWork, durable: Durable, handler: FactHandler[BuildStarted]) -> Binding:
    return Binding(
        durable,
        {BuildStarted: once(work, durable.name, handler)},
        concurrency=1,
        together=OneTransaction(work, durable, durable.name, {BuildStarted: handler}),
    )


async def test_a_commit_whose_answer_is_lost_has_its_effects_once(
    migrated_url: str, work: UnitOfWork, project: str
) -> None:
    bus, durable, founder = MemoryBus(), own_durable(project), Founder()
    await bus.publish([started(project, number) for number in range(5)])
    there = make_url(migrated_url).port
    assert there is not None
    async with lossy(there, loses="saying", each=1, most=1) as link:
        unsteady = SecretStr(migrated_url.replace(f":{there}/", f":{link.port}/"))
        database = Database(unsteady, application="unsteady", pool_size=4)
        async with running(bus, bound(UnitOfWork(database), durable, founder)):
            await eventually(settled(bus, durable))
        await database.stop()
    assert link.lost == 1
    assert shared(durable, "undone") == 1  # as far as anybody here knows
    assert sorted(founder.calls) == builds(5)  # the inbox knows better
    assert await founded(work) == builds(5)
    assert len(await events_of(work.database)) == 5
    assert bus.stored("ZW_DLQ") == []


async def test_two_that_wait_for_each_other_both_come_to_their_end(
    work: UnitOfWork, project: str
) -> None:
    """Each has locked what the other wants; both let go, and the rows are counted once each."""
    rows = sorted([await add_organisation(work, "left"), await add_organisation(work, "right")])
    bus, durables = MemoryBus(), [own_durable(project), own_durable(project)]
    both = asyncio.Barrier(2)
    first = dict.fromkeys((durable.name for durable in durables), True)

    def crossing(durable: Durable, order: list[str]) -> FactHandler[BuildStarted]:
        async def handler(tx: Transaction, event: BuildStarted) -> Outcome:
            number = int(event.build_id.removeprefix("bld-"))
            await tx.session.execute(
                text("UPDATE organisations SET name = name || :mark WHERE id = :id"),
                {"mark": "+", "id": _uuid(order[number])},
            )
            if first[durable.name]:  # in the shared transaction, once each has its lock
                first[durable.name] = False
                await both.wait()
            return Done()

        return handler

    await bus.publish([started(project, number) for number in range(2)])
    there, back = durables
    async with running(
        bus,
        binding(work, there, crossing(there, rows)),
        binding(work, back, crossing(back, rows[::-1])),
    ):
        await eventually(settled(bus, *durables))
    assert sum(shared(durable, "undone") for durable in durables) >= 1
    names = [row.name.count("+") for row in await every(work, Organisation)]
    assert names == [2, 2]
    assert bus.stored("ZW_DLQ") == []


async def test_a_handler_sees_what_others_have_committed_meanwhile(
    work: UnitOfWork, project: str
) -> None:
    """What a handler before it had loaded must not stand for the row as it is."""
    await add_organisation(work, "acme")
    bus, durable = MemoryBus(), own_durable(project)
    loaded: list[Organisation] = []  # a session forgets by itself what nobody holds
    seen: list[str] = []

    async def handler(tx: Transaction, _event: BuildStarted) -> Outcome:
        organisation = await organisation_find(tx.session, "acme")
        assert organisation is not None
        loaded.append(organisation)
        seen.append(organisation.name)
        if len(seen) == 1:
            async with work.transaction() as other:
                found = await organisation_find(other.session, "acme")
                assert found is not None
                found.name = "changed"
        return Done()

    await bus.publish([started(project, number) for number in range(2)])
    async with running(bus, binding(work, durable, handler)):
        await eventually(settled(bus, durable))
    assert shared(durable, "kept") == 1
    assert seen[1] == "changed"


async def test_a_handler_that_swallows_an_error_of_the_database_costs_the_others_nothing(
    work: UnitOfWork, project: str
) -> None:
    bus, durable, founder = MemoryBus(), own_durable(project), Founder()

    async def handler(tx: Transaction, event: BuildStarted) -> Outcome:
        if event.build_id != "bld-3":  # the last one, so that no statement comes behind it
            return await founder(tx, event)
        try:
            await tx.session.execute(text("SELECT 1 / 0"))
        except Exception:  # noqa: BLE001 - the mistake that is meant
            return Done()
        raise AssertionError

    await bus.publish([started(project, number) for number in range(4)])
    async with running(bus, binding(work, durable, handler)):
        await eventually(settled(bus, durable))
    assert shared(durable, "undone") == 1
    assert await founded(work) == builds(3)
    (letter,) = bus.stored("ZW_DLQ")
    assert letter.headers["zw-error-code"] == "internal_error"


async def test_while_the_database_is_away_each_is_tried_as_often_as_it_may(
    work: UnitOfWork, project: str
) -> None:
    bus, durable = MemoryBus(), own_durable(project)
    founder = Founder({f"bld-{number}": [DatabaseUnavailable("away")] * 2 for number in range(3)})
    await bus.publish([started(project, number) for number in range(3)])
    async with running(bus, bound(work, durable, founder)):
        await eventually(settled(bus, durable))
    assert await founded(work) == builds(3)
    assert bus.stored("ZW_DLQ") == []


def _uuid(organisation_id: str) -> str:
    return str(ids.to_uuid(ids.Prefix.ORGANISATION, organisation_id))
