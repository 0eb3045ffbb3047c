"""Events: read the log, follow the stream."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from db.models import EventLog
from db.queries.event_log import event_filter, events_find
from db.queries.projects import project_find
from events import subjects
from events.bus import Stored
from events.envelope import unwrap
from events.event import NewerEvent
from events.operation_params import Window
from events.streams import EVENTS
from producers.api.call import Call
from producers.api.pages import page
from producers.api.sse import EventStream
from zeitwork.errors import InvalidInput, NotFound
from zeitwork.fields import PageSize


class EventView(BaseModel):
    """An event as people read it."""

    id: str
    type: str
    version: int
    time: datetime
    subject: str
    correlation_id: str
    causation_id: str | None
    actor: str
    organisation_id: str | None
    project_id: str | None
    data: dict[str, Any]


class EventQuery(Window):
    """How `index` filters and pages (oldest first)."""

    after: int | None = None
    limit: PageSize = 100
    project: str | None = None


async def index(call: Call) -> web.Response:
    """`GET /events`."""
    query = call.query(EventQuery)
    async with call.database.read() as session:
        project_id = None
        if query.project is not None:
            project = await project_find(session, query.project)
            if project is None:
                raise NotFound(f"There is no project {query.project!r}.")
            project_id = project.id
        wanted = replace(
            await event_filter(session, query), after=query.after, project_id=project_id
        )
        rows = await events_find(session, wanted, limit=query.limit)
    cursor = str(rows[-1].id) if rows else None
    return call.reply(200, page([view(row) for row in rows], limit=query.limit, cursor=cursor))


async def follow(call: Call) -> web.StreamResponse:
    """`GET /events/stream`: new events as server-sent events; ids are stream sequences."""
    stream = EventStream(call.request)
    everything = subjects.ALL_FACTS
    async with call.bus.follow(EVENTS.name, everything, after=stream.last_id) as stored:
        await stream.open()
        async for message in stream.alive(stored):
            try:
                shown = live_view(message)
            except (InvalidInput, NewerEvent):
                continue  # of another version of Zeitwork
            await stream.send(shown.model_dump_json(), id_=message.sequence, event="event")
    return stream.response


def view(row: EventLog) -> EventView:
    return EventView(
        id=row.event_id,
        type=row.type,
        version=row.schema_version,
        time=row.created_at,
        subject=row.aggregate_id,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        actor=row.actor,
        organisation_id=row.organisation_id,
        project_id=row.project_id,
        data=json.loads(row.payload),
    )


def live_view(message: Stored) -> EventView:
    envelope = unwrap(message.headers, message.data)
    return EventView(
        id=envelope.id,
        type=envelope.type,
        version=envelope.version,
        time=envelope.time,
        subject=envelope.subject,
        correlation_id=envelope.correlation_id,
        causation_id=envelope.causation_id,
        actor=envelope.actor,
        organisation_id=envelope.organisation_id,
        project_id=envelope.project_id,
        data=envelope.data.model_dump(mode="json"),
    )
