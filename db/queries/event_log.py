"""The event log: its daily partitions, and reading it in order."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import Database
from db.models import Deployment
from db.models.outbox import EventLog, Outbox
from events.operation_params import Window, is_pattern
from zeitwork import clock
from zeitwork.errors import NotFound

_LOCK = 0x5A57_454C  # "ZWEL": one maker of partitions at a time


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to read; None means any.

    Attributes:
        after: only those behind this place in the log.
        type: `*` stands for one part of a type.
        types: exactly these types.
        subject: a pattern of the subjects that they travel on (NATS wildcards).
        deployment: what belongs to its causal chain, and what was said about it later.
        relayed: only those that have left the outbox.
    """

    after: int | None = None
    project_id: str | None = None
    aggregate_id: str | None = None
    correlation_id: str | None = None
    type: str | None = None
    types: frozenset[str] | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    deployment: Deployment | None = None
    relayed: bool = False


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


async def event_filter(session: AsyncSession, window: Window) -> EventFilter:
    """The filter for a window.

    Raises:
        NotFound: there is no such deployment.
    """
    deployment = None
    if window.deployment is not None:
        deployment = await session.get(Deployment, window.deployment)
        if deployment is None:
            raise NotFound(f"There is no deployment {window.deployment!r}.")
    by_pattern = window.subject is not None and is_pattern(window.subject)
    return EventFilter(
        aggregate_id=None if by_pattern else window.subject,
        correlation_id=window.correlation,
        type=window.type,
        subject=window.subject if by_pattern else None,
        since=window.since,
        until=window.until,
        deployment=deployment,
    )


async def events_find(
    session: AsyncSession, wanted: EventFilter, *, limit: int
) -> Sequence[EventLog]:
    """Events in the order of the log, oldest first."""
    query = select(EventLog).where(*_conditions(wanted)).order_by(EventLog.id).limit(limit)
    return (await session.execute(query)).scalars().all()


async def events_pages(
    database: Database, wanted: EventFilter, *, size: int = 200
) -> AsyncIterator[Sequence[EventLog]]:
    """All of them, page by page; each page is a transaction of its own."""
    while True:
        async with database.read() as session:
            page = await events_find(session, wanted, limit=size)
        if page:
            yield page
        if len(page) < size:
            return
        wanted = replace(wanted, after=page[-1].id)


def _conditions(wanted: EventFilter) -> list[ColumnElement[bool]]:
    equal: dict[Any, Any] = {
        EventLog.project_id: wanted.project_id,
        EventLog.aggregate_id: wanted.aggregate_id,
        EventLog.correlation_id: wanted.correlation_id,
    }
    conditions = [column == value for column, value in equal.items() if value is not None]
    if wanted.after is not None:
        conditions.append(EventLog.id > wanted.after)
    if wanted.type is not None:
        conditions.append(_fits(EventLog.type, wanted.type))
    if wanted.types is not None:
        conditions.append(EventLog.type.in_(wanted.types))
    if wanted.subject is not None:
        conditions.append(_fits(EventLog.subject, wanted.subject))
    if wanted.since is not None:
        conditions.append(EventLog.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(EventLog.created_at < wanted.until)
    if wanted.deployment is not None:
        conditions.append(_belongs_to(wanted.deployment))
    if wanted.relayed:
        conditions.append(~select(Outbox).where(Outbox.event_log_id == EventLog.id).exists())
    return conditions


def _fits(column: Any, pattern: str) -> ColumnElement[bool]:
    """The pattern as PostgreSQL compares it; one without wildcards can use an index."""
    if not {"*", ">"} & set(pattern):
        exact: ColumnElement[bool] = column == pattern
        return exact
    parts = [{"*": "[^.]+", ">": ".+"}.get(part, re.escape(part)) for part in pattern.split(".")]
    matching: ColumnElement[bool] = column.regexp_match(f"^{re.escape('.').join(parts)}$")
    return matching


def _belongs_to(deployment: Deployment) -> ColumnElement[bool]:
    """One push may start several projects' deployments; the others' events are left out."""
    project = EventLog.project_id == deployment.project_id
    payload = func.convert_from(EventLog.payload, "UTF8").cast(JSONB)
    return or_(
        and_(
            EventLog.correlation_id == deployment.correlation_id,
            or_(project, EventLog.project_id.is_(None)),
        ),
        and_(project, payload["deployment_id"].astext == deployment.id),
    )
