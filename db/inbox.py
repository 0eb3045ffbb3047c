"""The idempotency ledger: an event takes effect once per consumer."""

from __future__ import annotations

import re
from datetime import datetime

from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncSession

from db.models.outbox import Inbox
from zeitwork import ids

# A durable; for a replay, with its operation.
_CONSUMER = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)?")
# Text, not the table's insert(): every event passes here, and building that costs more than this.
_TAKE = "INSERT INTO inbox (consumer, event_id) VALUES {} ON CONFLICT DO NOTHING RETURNING true"
_TAKE_NOW = text(_TAKE.format("(:consumer, :event)"))


async def first_time(session: AsyncSession, consumer: str, event_id: str) -> bool:
    """Note that `consumer` takes the event; False when it already has.

    The note becomes true with the handler's own effects: it is part of their transaction.
    """
    event = ids.to_uuid(ids.Prefix.EVENT, event_id)
    taken = await session.execute(_TAKE_NOW, {"consumer": consumer, "event": event})
    return taken.scalar_one_or_none() is not None


def taking(consumer: str, event_id: str) -> str:
    """The statement of `first_time` on its own; it answers a row when it is the first time.

    Raises:
        InvalidInput: `event_id` is not an event's.
        ValueError: `consumer` is no durable's name.
    """
    if not _CONSUMER.fullmatch(consumer):
        raise ValueError(f"{consumer!r} is no durable's name")
    return _TAKE.format(f"('{consumer}', '{ids.to_uuid(ids.Prefix.EVENT, event_id)}')")


async def forget(session: AsyncSession, consumer: str, event_id: str) -> None:
    """Let the event take effect once more."""
    await session.execute(
        delete(Inbox).where(Inbox.consumer == consumer, Inbox.event_id == event_id)
    )


async def purge(session: AsyncSession, before: datetime) -> None:
    """Forget what is older than any redelivery can be (the stream's maximum age)."""
    await session.execute(delete(Inbox).where(Inbox.processed_at < before))
