"""Queues: what streams hold, what waits for each durable, and how fast it is handled."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from pydantic import BaseModel

from events.queues import DurableReading, StreamReading
from producers.api.call import Call


class QueueView(BaseModel):
    """A durable as people read it; see `events.queues` for what the figures mean."""

    name: str
    description: str
    stream: str
    depth: int
    pending: int
    ack_pending: int
    redelivered: int
    oldest_age_seconds: float | None
    rate: float | None
    drain_seconds: float | None
    idle_pulls: int
    paused: bool


class QueuesView(BaseModel):
    """Every queue, as of `measured_at`; `missing` should be there and are not."""

    measured_at: datetime
    durables: list[QueueView]
    streams: list[StreamReading]
    missing: list[str]


async def index(call: Call) -> web.Response:
    """`GET /queues`."""
    reading = await call.queues.reading()
    found = QueuesView(
        measured_at=reading.at,
        durables=[_view(call, each, reading.at) for each in reading.durables],
        streams=list(reading.streams),
        missing=list(reading.missing),
    )
    return call.reply(200, found)


def _view(call: Call, durable: DurableReading, at: datetime) -> QueueView:
    age = None
    if durable.oldest_at is not None:
        age = max(0.0, (at - durable.oldest_at).total_seconds())
    pace = call.queues.pace(durable.name)
    return QueueView(
        name=durable.name,
        description=durable.description,
        stream=durable.stream,
        depth=durable.depth,
        pending=durable.pending,
        ack_pending=durable.ack_pending,
        redelivered=durable.redelivered,
        oldest_age_seconds=age,
        rate=pace.rate,
        drain_seconds=pace.drain_seconds,
        idle_pulls=durable.idle_pulls,
        paused=durable.paused,
    )
