"""Webhook deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.direct import Direct
from db.models import WebhookDelivery
from events.states import DeliveryState, check
from zeitwork import clock, ids

_STORE = b"""
    INSERT INTO webhook_deliveries (id, guid, event, action, body, state, reason, finished_at)
    SELECT id, guid, event, action, body,
        CASE WHEN ignored IS NULL THEN %(received)s ELSE %(ignored)s END,
        ignored,
        CASE WHEN ignored IS NULL THEN NULL ELSE now() END
    FROM unnest(
        CAST(%(ids)s AS uuid[]), CAST(%(guids)s AS text[]), CAST(%(events)s AS text[]),
        CAST(%(actions)s AS text[]), CAST(%(bodies)s AS bytea[]), CAST(%(reasons)s AS text[])
    ) AS new (id, guid, event, action, body, ignored)
    ON CONFLICT (guid) DO NOTHING RETURNING id
"""


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery to be stored.

    Attributes:
        body: as it came, compressed (zstd).
        ignored: why nothing is to follow from it; None when something is.
    """

    id: str
    guid: str
    event: str
    action: str | None
    body: bytes
    ignored: str | None = None


async def deliveries_insert(direct: Direct, deliveries: Sequence[NewDelivery]) -> frozenset[str]:
    """Store deliveries; the ids of those whose `guid` was not there before."""
    # In one order, so that two processes that hear the same ones cannot wait for each other.
    rows = sorted(deliveries, key=lambda each: each.guid)
    columns = {
        "ids": [ids.to_uuid(ids.Prefix.DELIVERY, each.id) for each in rows],
        "guids": [each.guid for each in rows],
        "events": [each.event for each in rows],
        "actions": [each.action for each in rows],
        "bodies": [each.body for each in rows],
        "reasons": [each.ignored for each in rows],
        "received": DeliveryState.RECEIVED.value,
        "ignored": DeliveryState.IGNORED.value,
    }
    stored = await direct.rows(_STORE, columns)
    return frozenset(ids.from_uuid(ids.Prefix.DELIVERY, id_) for (id_,) in stored)


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
