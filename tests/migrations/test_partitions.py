"""The event log's partitions: a day each, and a default one that catches what has none."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from db.queries import event_log
from db.session import UnitOfWork
from producers.housekeeper import Housekeeper
from tests.support.database import execute
from tests.support.factories import MovableClock, add_organisation
from zeitwork import clock

DAY = 24 * 60 * 60


def partition(moment: datetime) -> str:
    return f"event_log_{moment:%Y%m%d}"


def partitions(url: str) -> set[str]:
    inheritance = "SELECT inhrelid::regclass::text FROM pg_inherits"
    found = execute(url, f"{inheritance} WHERE inhparent = 'event_log'::regclass")
    return {name for (name,) in found}


def holders(url: str) -> list[str]:
    """Which partition holds each event, in order of the log."""
    statement = "SELECT tableoid::regclass::text FROM event_log ORDER BY id"
    return [name for (name,) in execute(url, statement, tenant="*")]


def test_today_and_the_coming_week_have_partitions(migrated_url: str) -> None:
    days = {partition(clock.now() + timedelta(days=day)) for day in range(8)}
    assert partitions(migrated_url) == {*days, "event_log_default"}


async def test_an_event_goes_to_its_day(migrated_url: str, work: UnitOfWork) -> None:
    await add_organisation(work)
    assert holders(migrated_url) == [partition(clock.now())]


async def test_an_event_of_a_day_without_partition_is_caught(
    migrated_url: str, work: UnitOfWork
) -> None:
    with clock.using(MovableClock()) as ahead:
        ahead.advance(30 * DAY)
        await add_organisation(work)
    assert holders(migrated_url) == ["event_log_default"]


async def test_caught_events_do_not_stop_the_housekeeper(
    migrated_url: str, work: UnitOfWork
) -> None:
    """PostgreSQL refuses a partition for rows that the default one holds: that day stays there."""
    with clock.using(MovableClock()) as ahead:
        ahead.advance(30 * DAY)
        await add_organisation(work)
        today = clock.now()
        await Housekeeper(work).round()
    assert partition(today) not in partitions(migrated_url)
    assert partition(today + timedelta(days=1)) in partitions(migrated_url)
    assert holders(migrated_url) == ["event_log_default"]


async def test_old_events_are_dropped_wherever_they_are(
    migrated_url: str, work: UnitOfWork
) -> None:
    await add_organisation(work)
    today = partition(clock.now())
    with clock.using(MovableClock()) as ahead:
        ahead.advance(30 * DAY)
        await add_organisation(work)
        ahead.advance(58 * DAY)
        await Housekeeper(work).round()
        assert holders(migrated_url) == [today, "event_log_default"]
        ahead.advance(4 * DAY)
        await Housekeeper(work).round()
        assert holders(migrated_url) == ["event_log_default"]
        assert today not in partitions(migrated_url)
        ahead.advance(30 * DAY)
        await Housekeeper(work).round()
        assert holders(migrated_url) == []
        assert "event_log_default" in partitions(migrated_url)


async def test_drop_names_what_it_dropped(work: UnitOfWork) -> None:
    async with work.transaction() as tx:
        tomorrow = (clock.now() + timedelta(days=1)).date()
        dropped = await event_log.drop_partitions_before(tx.session, tomorrow)
    assert dropped == [partition(datetime.now(UTC))]


async def test_makers_at_the_same_time_all_succeed(migrated_url: str, work: UnitOfWork) -> None:
    """Fails without the lock: IF NOT EXISTS does not keep two processes from the same name."""
    days = partitions(migrated_url) - {"event_log_default"}
    for _ in range(5):
        execute(migrated_url, f"DROP TABLE {', '.join(days)}")
        await asyncio.gather(*(Housekeeper(work).round() for _ in range(4)))
        assert partitions(migrated_url) >= days
