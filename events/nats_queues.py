"""Reads the state of streams and durables from JetStream, as `nats consumer report` does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamInfo

from events.queues import DurableReading, Reading, StreamReading
from events.streams import Durable, Stream
from zeitwork import clock

_T = TypeVar("_T")


async def read(
    js: JetStreamContext, *, streams: Sequence[Stream], durables: Sequence[Durable]
) -> Reading:
    """One look; what nats-py raises is the caller's to translate."""
    at = clock.now()
    held = await asyncio.gather(*(_found(js.stream_info, one.name) for one in streams))
    seen = await asyncio.gather(
        *(_found(js.consumer_info, one.stream, one.name) for one in durables)
    )
    there = [(one, info) for one, info in zip(durables, seen, strict=True) if info is not None]
    oldest = await asyncio.gather(*(_oldest(js, one, info) for one, info in there))
    missing = [one.name for one, info in zip(streams, held, strict=True) if info is None]
    missing += [one.name for one, info in zip(durables, seen, strict=True) if info is None]
    return Reading(
        at=at,
        streams=tuple(_stream(info) for info in held if info is not None),
        durables=tuple(
            _durable(info, oldest_at=since) for (_, info), since in zip(there, oldest, strict=True)
        ),
        missing=tuple(missing),
    )


async def _oldest(js: JetStreamContext, durable: Durable, info: ConsumerInfo) -> datetime | None:
    """When the first message behind everything that is done was stored."""
    if not info.num_pending and not info.num_ack_pending:
        return None
    behind = (info.ack_floor.stream_seq if info.ack_floor is not None else 0) + 1
    found = await asyncio.gather(
        *(
            _found(_next, js, durable.stream, behind, pattern)
            for pattern in info.config.filter_subjects or [info.config.filter_subject or ">"]
        )
    )
    return min((since for since in found if since is not None), default=None)


async def _next(js: JetStreamContext, stream: str, sequence: int, pattern: str) -> datetime | None:
    return (await js.get_msg(stream, sequence, subject=pattern, next=True, direct=True)).time


def _stream(info: StreamInfo) -> StreamReading:
    config, state = info.config, info.state
    return StreamReading(
        name=config.name or "",
        description=config.description or "",
        messages=state.messages,
        bytes=state.bytes,
        max_messages=_limit(config.max_msgs),
        max_bytes=_limit(config.max_bytes),
        max_age_seconds=config.max_age or None,
        first_sequence=state.first_seq,
        last_sequence=state.last_seq,
    )


def _durable(info: ConsumerInfo, *, oldest_at: datetime | None) -> DurableReading:
    delivered = info.delivered
    return DurableReading(
        name=info.name,
        description=info.config.description or "",
        stream=info.stream_name,
        pending=info.num_pending or 0,
        ack_pending=info.num_ack_pending or 0,
        redelivered=info.num_redelivered or 0,
        idle_pulls=info.num_waiting or 0,
        paused=bool(info.paused),
        delivered=0 if delivered is None else delivered.consumer_seq,
        position=0 if delivered is None else delivered.stream_seq,
        oldest_at=oldest_at,
    )


def _limit(value: int | None) -> int | None:
    """The server writes -1 where there is no limit."""
    return value if value is not None and value > 0 else None


async def _found(ask: Callable[..., Awaitable[_T]], *arguments: object) -> _T | None:
    try:
        return await ask(*arguments)
    except nats.js.errors.NotFoundError:
        return None
