"""The idempotency ledger: an event takes effect once per consumer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.models.outbox import Inbox


async def first_time(session: AsyncSession, consumer: str, event_id: str) -> bool:
    """Note that `consumer` takes the event; False when it already has.

    The note becomes true with the handler's own effects: it is part of their transaction.
    """
    statement = (
        insert(Inbox)
        .values(consumer=consumer, event_id=event_id)
        .on_conflict_do_nothing()
        .returning(Inbox.event_id)
    )
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def forget(session: AsyncSession, consumer: str, event_id: str) -> None:
    """Let the event take effect once more."""
    await session.execute(
        delete(Inbox).where(Inbox.consumer == consumer, Inbox.event_id == event_id)
    )


async def purge(session: AsyncSession, before: datetime) -> None:
    """Forget what is older than any redelivery can be (the stream's maximum age)."""
    await session.execute(delete(Inbox).where(Inbox.processed_at < before))
