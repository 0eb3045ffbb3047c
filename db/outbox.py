"""Append events to the log and the outbox; claim a stream's in order for publishing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from db.models.dead_letters import DeadLetter
from db.models.outbox import EventLog, Outbox
from events import streams
from events.bus import Message
from events.envelope import Envelope
from events.states import DeadLetterState
from zeitwork import ids
from zeitwork.errors import ZeitworkError

PARKED_BY = "relay"  # in place of a durable, for what never came as far as one


@dataclass(frozen=True, slots=True)
class Claimed:
    """An event taken off the outbox, and where the log has it."""

    id: int
    created_at: datetime
    message: Message


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the outbox for one stream."""

    depth: int
    oldest: datetime


async def append(session: AsyncSession, emitted: Sequence[tuple[Envelope, str]]) -> None:
    """Write events to `event_log` and `outbox`.

    Aggregates are updated before this runs, so that their row locks put the ids of one
    aggregate's events into the order of their commits.
    """
    if not emitted:
        return
    rows = [_row(envelope, subject) for envelope, subject in emitted]
    stored = await session.execute(
        insert(EventLog).returning(EventLog.id, EventLog.created_at, sort_by_parameter_order=True),
        rows,
    )
    waiting = [
        {"stream": streams.holding(row["subject"]).name, "event_log_id": id_, "created_at": at}
        for row, (id_, at) in zip(rows, stored, strict=True)
    ]
    await session.execute(insert(Outbox), waiting)


# A claim deletes its rows, so it has no cursor and cannot step over a late commit. They are chosen
# in a step of their own: as a subquery of DELETE, a nested loop would choose anew for every row.
# It waits for rows that another claim holds: skipping them would overtake it. OFFSET 0 keeps the
# planner from reading the whole log in order to join a thousand rows of it.
_CLAIM = text("""
    WITH chosen AS MATERIALIZED (
        SELECT stream, event_log_id FROM outbox WHERE stream = :stream
        ORDER BY event_log_id LIMIT :most FOR UPDATE
    ), claimed AS (
        DELETE FROM outbox USING chosen
        WHERE outbox.stream = chosen.stream AND outbox.event_log_id = chosen.event_log_id
        RETURNING outbox.event_log_id, outbox.created_at
    )
    SELECT log.id, log.created_at, log.subject, log.headers, log.payload
    FROM claimed CROSS JOIN LATERAL (
        SELECT * FROM event_log
        WHERE id = claimed.event_log_id AND created_at = claimed.created_at
        OFFSET 0
    ) AS log
    ORDER BY log.id
""")


async def claim(session: AsyncSession, stream: str, *, most: int) -> list[Claimed]:
    """Take a stream's oldest events off the outbox; they are gone when the transaction commits."""
    rows = await session.execute(_CLAIM, {"stream": stream, "most": most})
    return [
        Claimed(id_, created_at, Message(subject, payload, headers, headers["ce-id"]))
        for id_, created_at, subject, headers, payload in rows
    ]


async def park(session: AsyncSession, row: Claimed, *, stream: str, error: ZeitworkError) -> None:
    """Put a claimed event that its stream will never take among the dead letters."""
    query = select(EventLog).where(EventLog.id == row.id, EventLog.created_at == row.created_at)
    event = (await session.execute(query)).scalar_one()
    session.add(
        DeadLetter(
            id=ids.new(ids.Prefix.DEAD_LETTER),
            stream=stream,
            durable=PARKED_BY,
            sequence=event.id,
            subject=event.subject,
            event_id=event.event_id,
            event_type=event.type,
            correlation_id=event.correlation_id,
            organisation_id=event.organisation_id,
            project_id=event.project_id,
            headers=event.headers,
            payload=event.payload,
            attempts=1,
            error_code=error.code,
            error_detail=error.message,
            state=DeadLetterState.OPEN,
        )
    )


async def backlog(session: AsyncSession) -> Mapping[str, Backlog]:
    """What waits, by stream; a stream for which nothing waits is not there."""
    query = select(Outbox.stream, func.count(), func.min(Outbox.created_at)).group_by(Outbox.stream)
    return {
        stream: Backlog(depth, oldest)
        for stream, depth, oldest in (await session.execute(query)).all()
    }


def _row(envelope: Envelope, subject: str) -> dict[str, Any]:
    return {
        "event_id": envelope.id,
        "created_at": envelope.time,
        "type": envelope.type,
        "schema_version": envelope.version,
        "aggregate_id": envelope.subject,
        "aggregate_version": envelope.aggregate_version,
        "organisation_id": envelope.organisation_id,
        "project_id": envelope.project_id,
        "correlation_id": envelope.correlation_id,
        "causation_id": envelope.causation_id,
        "actor": envelope.actor,
        "subject": subject,
        "headers": envelope.headers(),
        "payload": envelope.data.encode(),
    }
