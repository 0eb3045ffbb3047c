"""Append events to the log and the outbox; claim them in order for publishing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from db.models.outbox import Outbox
from events.bus import Message
from events.envelope import Envelope
from zeitwork import ids


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the outbox."""

    depth: int
    oldest: datetime | None


# The order of the array becomes the order of the ids; one statement is one round trip.
_APPEND = text("""
    WITH said AS (
        SELECT * FROM ROWS FROM (
            json_to_recordset(CAST(:rows AS json)) AS (
                event_id uuid, created_at timestamptz, type text, schema_version integer,
                aggregate_id text, aggregate_version bigint, organisation_id uuid,
                project_id uuid, correlation_id text, causation_id text, actor text,
                subject text, headers jsonb, payload text
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
        RETURNING id, created_at
    )
    INSERT INTO outbox (event_log_id, created_at) SELECT id, created_at FROM logged
""")


async def append(session: AsyncSession, emitted: Sequence[tuple[Envelope, str]]) -> None:
    """Write events to `event_log` and `outbox`.

    Aggregates are updated before this runs, so that their row locks put the ids of one
    aggregate's events into the order of their commits.

    Raises:
        InvalidInput: an id in an envelope is none.
    """
    if not emitted:
        return
    await session.flush()
    rows = [_row(envelope, subject) for envelope, subject in emitted]
    await session.execute(_APPEND, {"rows": json.dumps(rows)})


# A claim deletes its rows, so it has no cursor and cannot step over a late commit. They are chosen
# in a step of their own: as a subquery of DELETE, a nested loop would choose anew for every row.
_CLAIM = text("""
    WITH chosen AS MATERIALIZED (
        SELECT event_log_id FROM outbox ORDER BY event_log_id
        LIMIT :most FOR UPDATE SKIP LOCKED
    ), claimed AS (
        DELETE FROM outbox USING chosen WHERE outbox.event_log_id = chosen.event_log_id
        RETURNING outbox.event_log_id, outbox.created_at
    )
    SELECT log.event_id, log.subject, log.headers, log.payload
    FROM claimed JOIN event_log AS log
      ON log.id = claimed.event_log_id AND log.created_at = claimed.created_at
    ORDER BY log.id
""")


async def claim(session: AsyncSession, most: int) -> list[Message]:
    """Take the oldest events off the outbox; they are gone when the transaction commits."""
    rows = (await session.execute(_CLAIM, {"most": most})).all()
    return [
        Message(subject, bytes(payload), _headers(headers), _headers(headers)["ce-id"])
        for _event_id, subject, headers, payload in rows
    ]


async def backlog(session: AsyncSession) -> Backlog:
    depth, oldest = (await session.execute(select(func.count(), func.min(Outbox.created_at)))).one()
    return Backlog(depth, oldest)


def _row(envelope: Envelope, subject: str) -> dict[str, Any]:
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
        "subject": subject,
        "headers": envelope.headers(),
        "payload": envelope.data.encode().decode(),
    }


def _uuid(prefix: ids.Prefix, id_: str | None) -> str | None:
    return None if id_ is None else str(ids.to_uuid(prefix, id_))


def _headers(value: Any) -> dict[str, str]:
    return json.loads(value) if isinstance(value, str) else dict(value)
