"""The idempotency ledger: an event takes effect once per consumer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncSession

from db.models.outbox import Inbox
from zeitwork import ids

# Text, not the table's insert(): every event passes here, and building that costs more than this.
_TAKE = text(
    "INSERT INTO inbox (consumer, event_id) VALUES (:consumer, :event)"
    " ON CONFLICT DO NOTHING RETURNING true"
)


async def first_time(session: AsyncSession, consumer: str, event_id: str) -> bool:
    """Note that `consumer` takes the event; False when it already has.

    The note becomes true with the handler's own effects: it is part of their transaction.
    """
    event = ids.to_uuid(ids.Prefix.EVENT, event_id)
    taken = await session.execute(_TAKE, {"consumer": consumer, "event": event})
    return taken.scalar_one_or_none() is not None


async def purge(session: AsyncSession, before: datetime) -> None:
    """Forget what is older than any redelivery can be (the stream's maximum age)."""
    await session.execute(delete(Inbox).where(Inbox.processed_at < before))
