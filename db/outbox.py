"""Append events to the log and the outbox; claim a stream's in order for publishing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.direct import Direct
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


# The order of the array becomes the order of the ids; one statement is one round trip.
_APPEND = b"""
    WITH said AS (
        SELECT * FROM ROWS FROM (
            json_to_recordset(CAST(%(rows)s AS json)) AS (
                event_id uuid, created_at timestamptz, type text, schema_version integer,
                aggregate_id text, aggregate_version bigint, organisation_id uuid,
                project_id uuid, correlation_id text, causation_id text, actor text,
                subject text, headers jsonb, payload text, stream text
            )
        ) WITH ORDINALITY
    ), logged AS (
        INSERT INTO event_log (
            event_id, created_at, type, schema_version, aggregate_id, aggregate_version,
            organisation_id, project_id, correlation_id, causation_id, actor, subject, headers,
            payload
        )
        SELECT event_id, created_at, type, schema_version, aggregate_id, aggregate_version,
            organisation_id, project_id, correlation_id, causation_id, actor, subject, headers,
            convert_to(payload, 'UTF8')
        FROM said ORDER BY ordinality
        RETURNING id, created_at, event_id
    )
    INSERT INTO outbox (stream, event_log_id, created_at)
    SELECT said.stream, logged.id, logged.created_at FROM logged JOIN said USING (event_id)
"""


async def append(direct: Direct, emitted: Sequence[tuple[Envelope, Message]]) -> None:
    """Write events to `event_log` and `outbox`.

    Raises:
        InvalidInput: an id in an envelope is none.
    """
    if not emitted:
        return
    rows = [_row(envelope, message) for envelope, message in emitted]
    await direct.rows(_APPEND, {"rows": json.dumps(rows)})


# A claim deletes its rows, so it has no cursor and cannot step over a late commit. They are chosen
# in a step of their own: as a subquery of DELETE, a nested loop would choose anew for every row.
# It waits for rows that another claim holds: skipping them would overtake it. OFFSET 0 keeps the
# planner from reading the whole log in order to join a thousand rows of it.
_CLAIM = b"""
    WITH chosen AS MATERIALIZED (
        SELECT stream, event_log_id FROM outbox WHERE stream = %(stream)s
        ORDER BY event_log_id LIMIT %(most)s FOR UPDATE
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
"""


async def claim(direct: Direct, stream: str, *, most: int) -> list[Claimed]:
    """Take a stream's oldest events off the outbox; they are gone when the transaction commits."""
    rows = await direct.rows(_CLAIM, {"stream": stream, "most": most})
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


def _row(envelope: Envelope, message: Message) -> dict[str, Any]:
    return {
        "event_id": _uuid(ids.Prefix.EVENT, envelope.id),
        "created_at": envelope.time.isoformat(),
        "type": envelope.type,
        "schema_version": envelope.version,
        "aggregate_id": envelope.subject,
        "aggregate_version": envelope.aggregate_version,
        "organisation_id": _uuid(ids.Prefix.ORGANISATION, envelope.organisation_id),
        "project_id": _uuid(ids.Prefix.PROJECT, envelope.project_id),
        "correlation_id": envelope.correlation_id,
        "causation_id": envelope.causation_id,
        "actor": envelope.actor,
        "subject": message.subject,
        "headers": message.headers,
        "payload": message.data.decode(),
        "stream": streams.holding(message.subject).name,
    }


def _uuid(prefix: ids.Prefix, id_: str | None) -> str | None:
    return None if id_ is None else str(ids.to_uuid(prefix, id_))
