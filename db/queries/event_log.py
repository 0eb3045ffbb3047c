"""The event log: its daily partitions, and reading it in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from db.models.outbox import EventLog
from zeitwork import clock

_LOCK = 0x5A57_454C  # "ZWEL": one maker of partitions at a time


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to read; None means any."""

    after: int | None = None
    project_id: str | None = None
    aggregate_id: str | None = None
    correlation_id: str | None = None
    type: str | None = None


def create_partitions(connection: Connection, days_ahead: int) -> None:
    """Create the partitions of today and of the coming days; a default one catches the rest."""
    connection.execute(text("SET LOCAL lock_timeout = '4s'"))
    # IF NOT EXISTS alone does not keep two processes from creating the same table.
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    today = clock.now().date()
    for offset in range(days_ahead + 1):
        _create_partition(connection, today + timedelta(days=offset))


def _create_partition(connection: Connection, day: date) -> None:
    start, end = f"{day} 00:00:00+00", f"{day + timedelta(days=1)} 00:00:00+00"
    caught = "SELECT FROM event_log_default WHERE created_at >= :start AND created_at < :end"
    found = text(f"SELECT EXISTS ({caught})")
    if connection.execute(found, {"start": start, "end": end}).scalar_one():
        return  # PostgreSQL refuses a partition whose rows the default one holds already
    connection.execute(
        text(
            f"CREATE TABLE IF NOT EXISTS event_log_{day:%Y%m%d} PARTITION OF event_log "
            f"FOR VALUES FROM ('{start}') TO ('{end}')"
        )
    )


async def ensure_partitions(session: AsyncSession, days_ahead: int) -> None:
    connection = await session.connection()
    await connection.run_sync(create_partitions, days_ahead)


async def drop_partitions_before(session: AsyncSession, day: date) -> list[str]:
    """Drop whole days older than `day`; their names. The default partition loses those rows."""
    names = (
        await session.execute(
            text(
                "SELECT child.relname FROM pg_inherits "
                "JOIN pg_class AS child ON child.oid = inhrelid "
                "WHERE inhparent = 'event_log'::regclass"
            )
        )
    ).scalars()
    days = {name: _day_of(name) for name in names}
    old = [name for name, its_day in days.items() if its_day is not None and its_day < day]
    for name in old:
        await session.execute(text(f"DROP TABLE {name}"))
    await session.execute(
        text("DELETE FROM event_log_default WHERE created_at < :day"), {"day": day}
    )
    return old


def _day_of(partition: str) -> date | None:
    suffix = partition.removeprefix("event_log_")
    return datetime.strptime(suffix, "%Y%m%d").date() if suffix.isdigit() else None  # noqa: DTZ007


async def events_find(
    session: AsyncSession, wanted: EventFilter, *, limit: int
) -> Sequence[EventLog]:
    """Events in the order of the log, oldest first."""
    query = select(EventLog).order_by(EventLog.id).limit(limit)
    if wanted.after is not None:
        query = query.where(EventLog.id > wanted.after)
    if wanted.project_id is not None:
        query = query.where(EventLog.project_id == wanted.project_id)
    if wanted.aggregate_id is not None:
        query = query.where(EventLog.aggregate_id == wanted.aggregate_id)
    if wanted.correlation_id is not None:
        query = query.where(EventLog.correlation_id == wanted.correlation_id)
    if wanted.type is not None:
        query = query.where(EventLog.type == wanted.type)
    return (await session.execute(query)).scalars().all()
