"""Webhook deliveries: take one in, say what became of it."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from pydantic import BaseModel

from db.queries.github import delivery_find_by_guid
from producers.api.call import Call
from producers.webhooks import github
from zeitwork.errors import NotFound


class DeliveryView(BaseModel):
    """What a caller sees; `reason` says why a delivery was ignored."""

    id: str
    guid: str
    event: str
    state: str
    reason: str | None
    created_at: datetime
    finished_at: datetime | None


async def receive(call: Call) -> web.Response:
    """`POST /webhooks/github`; GitHub hears 202 before any work is done."""
    receipt = await github.receive(
        call.intake,
        secret=call.settings.github_webhook_secret,
        headers=call.request.headers,
        body=await call.read_body(),
    )
    answer = {"delivery": receipt.guid, "outcome": receipt.outcome}
    if receipt.reason is not None:
        answer["reason"] = receipt.reason
    return call.reply(202, answer)


async def show(call: Call) -> web.Response:
    """`GET /webhooks/deliveries/{guid}`."""
    wanted = call.path("guid")
    async with call.database.read() as session:
        found = await delivery_find_by_guid(session, wanted)
    if found is None:
        raise NotFound(f"There is no delivery {wanted!r}.")
    return call.reply(
        200,
        DeliveryView(
            id=found.id,
            guid=found.guid,
            event=found.event,
            state=str(found.state),
            reason=found.reason,
            created_at=found.created_at,
            finished_at=found.finished_at,
        ),
    )
