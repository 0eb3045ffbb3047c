"""Webhook deliveries."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import WebhookDelivery
from events.states import DeliveryState, check
from zeitwork import clock, ids


async def delivery_insert(
    session: AsyncSession, *, guid: str, event: str, action: str | None, body: bytes
) -> str | None:
    """Store a delivery (`body` compressed); its id, or None when it was stored before."""
    statement = (
        insert(WebhookDelivery)
        .values(
            id=ids.new(ids.Prefix.DELIVERY),
            guid=guid,
            event=event,
            action=action,
            body=body,
            state=DeliveryState.RECEIVED,
        )
        .on_conflict_do_nothing(index_elements=[WebhookDelivery.guid])
        .returning(WebhookDelivery.id)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def delivery_find_by_guid(session: AsyncSession, guid: str) -> WebhookDelivery | None:
    return (
        await session.execute(select(WebhookDelivery).where(WebhookDelivery.guid == guid))
    ).scalar_one_or_none()


async def delivery_lock(session: AsyncSession, delivery_id: str) -> WebhookDelivery | None:
    query = (
        select(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def delivery_finish(
    session: AsyncSession, delivery_id: str, outcome: DeliveryState, *, reason: str | None
) -> None:
    """Note what became of a delivery, whose row exists."""
    delivery = await session.get_one(WebhookDelivery, delivery_id, with_for_update=True)
    check(delivery.state, outcome)
    delivery.state = outcome
    delivery.reason = reason
    delivery.finished_at = clock.now()
