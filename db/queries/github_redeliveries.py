"""Missed webhooks: how far GitHub's list has been read, and what is to be asked for again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import GitHubDeliveryScan, GitHubRedelivery, WebhookDelivery

_ONLY = 1


@dataclass(frozen=True, slots=True)
class Missed:
    """A delivery that failed at `failed_at`, by GitHub's account of it."""

    guid: str
    attempt_id: int
    event: str
    status_code: int
    failed_at: datetime


async def scan_lock(session: AsyncSession, *, floor_at: datetime) -> GitHubDeliveryScan:
    """The (locked) row; `floor_at` is where the very first reading ends."""
    await session.execute(
        insert(GitHubDeliveryScan).values(id=_ONLY, floor_at=floor_at).on_conflict_do_nothing()
    )
    return await session.get_one(GitHubDeliveryScan, _ONLY, with_for_update=True)


async def redeliveries_note(
    session: AsyncSession, missed: Collection[Missed], *, next_at: datetime
) -> int:
    """Keep those that are neither stored nor known; how many that were."""
    stored = await stored_guids(session, [each.guid for each in missed])
    new = [
        {
            "guid": each.guid,
            "attempt_id": each.attempt_id,
            "event": each.event,
            "status_code": each.status_code,
            "failed_at": each.failed_at,
            "asked": 0,
            "next_at": next_at,
        }
        for each in missed
        if each.guid not in stored
    ]
    if not new:
        return 0
    made = await session.execute(
        insert(GitHubRedelivery)
        .values(new)
        .on_conflict_do_nothing()
        .returning(GitHubRedelivery.guid)
    )
    return len(made.all())


async def stored_guids(session: AsyncSession, guids: Collection[str]) -> set[str]:
    """Those of the deliveries that reached us."""
    query = select(WebhookDelivery.guid).where(WebhookDelivery.guid.in_(guids))
    return set((await session.execute(query)).scalars())


async def redeliveries_due(
    session: AsyncSession, now: datetime, *, limit: int
) -> Sequence[GitHubRedelivery]:
    """Those to ask for, oldest first, locked."""
    query = (
        select(GitHubRedelivery)
        .where(GitHubRedelivery.next_at <= now)
        .order_by(GitHubRedelivery.next_at)
        .limit(limit)
        .with_for_update()
    )
    return (await session.execute(query)).scalars().all()


async def redeliveries_recovered(session: AsyncSession) -> int:
    """Forget those that reached us; how many that were."""
    reached = select(WebhookDelivery.guid).where(WebhookDelivery.guid == GitHubRedelivery.guid)
    gone = await session.execute(
        delete(GitHubRedelivery).where(reached.exists()).returning(GitHubRedelivery.guid)
    )
    return len(gone.all())


async def redeliveries_purge(session: AsyncSession, before: datetime) -> int:
    """Forget those that GitHub has forgotten; how many that were."""
    gone = await session.execute(
        delete(GitHubRedelivery)
        .where(GitHubRedelivery.failed_at < before)
        .returning(GitHubRedelivery.guid)
    )
    return len(gone.all())
