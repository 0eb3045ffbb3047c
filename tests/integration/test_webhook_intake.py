"""Webhooks that arrive together share a transaction, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from db.direct import RowLocked
from db.engine import Database
from db.models import WebhookDelivery
from db.queries.github import NewDelivery, deliveries_insert
from db.session import UnitOfWork
from events.github import PushReceived
from events.states import DeliveryState
from producers.webhooks.intake import Arrival, Intake
from tests.support.eventually import eventually
from tests.support.factories import events_of, every, push
from tests.support.servers import free_port
from zeitwork import context, ids
from zeitwork.errors import DatabaseUnavailable, IntakeFull, InvalidInput


@pytest.fixture
async def intake(work: UnitOfWork) -> AsyncIterator[Intake]:
    """Not started, so that a test can let several wait."""
    made = Intake(work)
    yield made
    await made.stop()


def arrival(guid: str, *, ignored: str | None = None, action: str | None = None) -> Arrival:
    id_ = ids.new(ids.Prefix.DELIVERY)
    delivery = NewDelivery(
        id=id_, guid=guid, event="push", action=action, body=b"zstd", ignored=ignored
    )
    said = push(id_).data
    assert isinstance(said, PushReceived)
    return Arrival(delivery, None if ignored else said)


async def together(intake: Intake, *arrivals: Arrival) -> list[bool | BaseException]:
    """Let all wait before the first is stored."""
    calls = [asyncio.ensure_future(intake.store(each)) for each in arrivals]
    await asyncio.sleep(0)
    await intake.start()
    return await asyncio.gather(*calls, return_exceptions=True)


async def transactions(work: UnitOfWork, table: str) -> int:
    """How many wrote what stands in a table."""
    async with work.database.read() as session:
        found = await session.execute(text(f"SELECT count(DISTINCT xmin::text) FROM {table}"))
        number: int = found.scalar_one()
        return number


async def test_those_that_wait_share_one_transaction_in_order(
    intake: Intake, work: UnitOfWork
) -> None:
    arrivals = [arrival(f"guid-{number:02}") for number in reversed(range(20))]
    assert await together(intake, *arrivals) == [True] * 20
    assert await transactions(work, "webhook_deliveries") == 1
    said = await events_of(work.database)
    assert [event.aggregate_id for event in said] == [each.delivery.id for each in arrivals]


async def test_more_than_one_transaction_takes_go_into_the_next(
    intake: Intake, work: UnitOfWork
) -> None:
    assert await together(intake, *(arrival(f"guid-{number}") for number in range(100))) == (
        [True] * 100
    )
    assert await transactions(work, "webhook_deliveries") == 2


async def test_large_bodies_do_not_pile_up_in_one_statement(
    intake: Intake, work: UnitOfWork
) -> None:
    large = [
        replace(each, delivery=replace(each.delivery, body=b"x" * 3 * 1024 * 1024))
        for each in (arrival("one"), arrival("two"))
    ]
    assert await together(intake, *large) == [True, True]
    assert await transactions(work, "webhook_deliveries") == 2


async def test_of_one_delivery_twice_in_a_transaction_one_counts(
    intake: Intake, work: UnitOfWork
) -> None:
    assert await together(intake, arrival("same"), arrival("other"), arrival("same")) == [
        True,
        True,
        False,
    ]
    assert len(await every(work, WebhookDelivery)) == 2
    assert len(await events_of(work.database)) == 2


async def test_one_that_cannot_be_kept_takes_no_other_with_it(
    intake: Intake, work: UnitOfWork
) -> None:
    bad = arrival("bad", action="no\x00text")
    answers = await together(intake, arrival("before"), bad, arrival("after"))
    assert [answers[0], answers[2]] == [True, True]
    assert isinstance(answers[1], InvalidInput)
    assert {each.guid for each in await every(work, WebhookDelivery)} == {"before", "after"}


async def test_one_that_meets_a_lock_takes_no_other_with_it(
    intake: Intake, work: UnitOfWork
) -> None:
    async with work.transaction() as rival:
        await deliveries_insert(rival.direct, [arrival("held").delivery])
        answers = await together(intake, arrival("before"), arrival("held"), arrival("later"))
        rival.discard()
    assert [answers[0], answers[2]] == [True, True]
    assert isinstance(answers[1], RowLocked)
    assert {each.guid for each in await every(work, WebhookDelivery)} == {"before", "later"}
    assert await intake.store(arrival("held")) is True


async def test_a_locked_table_is_waited_for_once_and_not_once_a_delivery(
    intake: Intake, work: UnitOfWork
) -> None:
    """Four seconds each would be longer than any sender waits, and than a test may take."""
    async with work.transaction() as rival:
        await rival.session.execute(text("LOCK TABLE webhook_deliveries IN EXCLUSIVE MODE"))
        answers = await together(intake, *(arrival(f"guid-{number}") for number in range(20)))
    assert [type(each) for each in answers] == [RowLocked] * 20
    assert await intake.store(arrival("free again")) is True


async def test_each_event_belongs_to_its_own_call(intake: Intake, work: UnitOfWork) -> None:
    async def call(name: str) -> bool:
        with context.bind(correlation_id=name, actor=f"caller:{name}"):
            return await intake.store(arrival(name))

    calls = [asyncio.ensure_future(call(name)) for name in ("one", "two")]
    await asyncio.sleep(0)
    with context.bind(correlation_id="of the intake", actor="nobody"):
        await intake.start()
    assert await asyncio.gather(*calls) == [True, True]
    said = await events_of(work.database)
    assert [(event.correlation_id, event.actor) for event in said] == [
        ("one", "caller:one"),
        ("two", "caller:two"),
    ]


async def test_what_is_ignored_is_kept_with_the_reason_and_causes_nothing(
    intake: Intake, work: UnitOfWork
) -> None:
    assert await together(intake, arrival("ping", ignored="a ping"), arrival("push")) == [True] * 2
    kept = {each.guid: each for each in await every(work, WebhookDelivery)}
    assert (kept["ping"].state, kept["ping"].reason) == (DeliveryState.IGNORED, "a ping")
    assert kept["ping"].finished_at is not None
    assert (kept["push"].state, kept["push"].finished_at) == (DeliveryState.RECEIVED, None)
    assert len(await events_of(work.database)) == 1


async def test_a_caller_that_leaves_hinders_nobody(intake: Intake, work: UnitOfWork) -> None:
    leaving = asyncio.ensure_future(intake.store(arrival("leaving")))
    staying = asyncio.ensure_future(intake.store(arrival("staying")))
    await asyncio.sleep(0)
    leaving.cancel()
    await intake.start()
    assert await staying is True
    assert {each.guid for each in await every(work, WebhookDelivery)} == {"leaving", "staying"}


async def test_without_a_database_each_hears_so_and_the_intake_goes_on() -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    away = Database(SecretStr(url), application="test")
    intake = Intake(UnitOfWork(away))
    try:
        first, second = await together(intake, arrival("one"), arrival("two"))
        assert isinstance(first, DatabaseUnavailable)
        assert isinstance(second, DatabaseUnavailable)
        assert first is not second
        with pytest.raises(DatabaseUnavailable):
            await intake.store(arrival("three"))
        assert await intake.ready() is None
    finally:
        await intake.stop()
        await away.stop()


async def test_a_crowd_is_refused_before_it_is_held_in_memory(
    intake: Intake, work: UnitOfWork
) -> None:
    calls = [asyncio.ensure_future(intake.store(arrival(f"g-{n}"))) for n in range(1000)]
    await asyncio.sleep(0)
    with pytest.raises(IntakeFull):
        await intake.store(arrival("too many"))
    await intake.start()
    assert all(await asyncio.gather(*calls))
    assert await intake.store(arrival("room again")) is True
    assert len(await every(work, WebhookDelivery)) == 1001


async def test_a_stop_answers_those_that_still_wait(intake: Intake, work: UnitOfWork) -> None:
    async with work.transaction() as tx:
        await tx.session.execute(text("LOCK TABLE webhook_deliveries IN ACCESS EXCLUSIVE MODE"))
        await intake.start()
        running = asyncio.ensure_future(intake.store(arrival("running")))
        await eventually(lambda: _waits_for_a_lock(work))
        waiting = asyncio.ensure_future(intake.store(arrival("waiting")))
        await asyncio.sleep(0)
        await intake.stop()
    answers = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [type(each) for each in answers] == [DatabaseUnavailable] * 2
    assert await every(work, WebhookDelivery) == []


async def test_after_its_end_it_takes_nothing(intake: Intake) -> None:
    await intake.start()
    assert await intake.store(arrival("before")) is True
    await intake.stop()
    with pytest.raises(DatabaseUnavailable, match="stops"):
        await intake.store(arrival("after"))


async def _waits_for_a_lock(work: UnitOfWork) -> bool:
    async with work.database.read() as session:
        found = await session.execute(
            text("SELECT count(*) FROM pg_locks WHERE NOT granted AND database IS NOT NULL")
        )
        number: int = found.scalar_one()
        return number > 0
