"""The idempotency ledger: an event takes effect once per consumer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from db.models.outbox import Inbox
from zeitwork import ids

# A durable; for a replay, with its operation.
_CONSUMER = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)?")
# Text, not the table's insert(): every event passes here, and building that costs more than this.
_TAKE = "INSERT INTO inbox (consumer, event_id) VALUES {} ON CONFLICT DO NOTHING RETURNING event_id"


def taking(consumer: str, event_ids: Sequence[str]) -> str:
    """The statement that notes events as taken; it answers those that `consumer` had not taken.

    The notes become true with the effects of the handlers: they are part of their transaction.

    Raises:
        InvalidInput: one of `event_ids` is not an event's.
        ValueError: `consumer` is no durable's name.
    """
    if not _CONSUMER.fullmatch(consumer):
        raise ValueError(f"{consumer!r} is no durable's name")
    # In one order for everybody: two that take the same events cannot wait for each other.
    events = sorted({str(ids.to_uuid(ids.Prefix.EVENT, event_id)) for event_id in event_ids})
    return _TAKE.format(", ".join(f"('{consumer}', '{event}')" for event in events))


async def forget(session: AsyncSession, consumer: str, event_id: str) -> None:
    """Let the event take effect once more."""
    await session.execute(
        delete(Inbox).where(Inbox.consumer == consumer, Inbox.event_id == event_id)
    )


async def purge(session: AsyncSession, before: datetime) -> None:
    """Forget what is older than any redelivery can be (the stream's maximum age)."""
    await session.execute(delete(Inbox).where(Inbox.processed_at < before))
