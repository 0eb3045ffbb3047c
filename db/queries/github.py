"""Webhook deliveries."""

from __future__ import annotations

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import WebhookDelivery
from events.states import DeliveryState, check
from zeitwork import clock, ids

# Text, not the table's insert(): every webhook passes here, and building that costs more than this.
_STORE = text("""
    INSERT INTO webhook_deliveries (id, guid, event, action, body, state)
    VALUES (:id, :guid, :event, :action, :body, :state)
    ON CONFLICT (guid) DO NOTHING RETURNING true
""")


async def delivery_insert(
    session: AsyncSession, *, guid: str, event: str, action: str | None, body: bytes
) -> str | None:
    """Store a delivery (`body` compressed); its id, or None when it was stored before."""
    delivery_id = ids.new(ids.Prefix.DELIVERY)
    row = {
        "id": ids.to_uuid(ids.Prefix.DELIVERY, delivery_id),
        "guid": guid,
        "event": event,
        "action": action,
        "body": body,
        "state": DeliveryState.RECEIVED.value,
    }
    stored = await session.execute(_STORE, row)
    return None if stored.scalar_one_or_none() is None else delivery_id


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
