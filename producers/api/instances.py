"""Instances: list those of a deployment, follow the output of one."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from pydantic import BaseModel

from db.models import Instance
from db.queries.deployments import deployment_find
from db.queries.instances import instance_find, instance_find_by_deployment
from events import subjects
from events.streams import LOGS
from producers.api.call import Call
from producers.api.pages import Page
from producers.api.sse import EventStream
from zeitwork.errors import NotFound


class InstanceView(BaseModel):
    """What a caller sees."""

    id: str
    deployment_id: str
    node_id: str | None
    kind: str
    slot: int
    state: str
    host: str | None
    port: int | None
    exit_code: int | None
    error_code: str | None
    error_detail: str | None
    created_at: datetime
    ready_at: datetime | None
    stopped_at: datetime | None


async def index(call: Call) -> web.Response:
    """`GET /deployments/{deployment}/instances`."""
    wanted = call.path("deployment")
    async with call.database.read() as session:
        if await deployment_find(session, wanted) is None:
            raise NotFound(f"There is no deployment {wanted!r}.")
        found = await instance_find_by_deployment(session, wanted)
    return call.reply(200, Page(items=[view(each) for each in found], next=None))


async def follow(call: Call) -> web.StreamResponse:
    """`GET /instances/{instance}/logs/stream`: its output as the node ships it.

    Starts with what the stream still holds; the event id is the stream's sequence.
    """
    wanted = call.path("instance")
    async with call.database.read() as session:
        if await instance_find(session, wanted) is None:
            raise NotFound(f"There is no instance {wanted!r}.")
    stream = EventStream(call.request)
    subject = subjects.log("instance", wanted)
    async with call.bus.follow(LOGS.name, subject, after=stream.last_id or 0) as stored:
        await stream.open()
        async for message in stream.alive(stored):
            await stream.send(message.data.decode(), id_=message.sequence, event="lines")
    return stream.response


def view(instance: Instance) -> InstanceView:
    return InstanceView(
        id=instance.id,
        deployment_id=instance.deployment_id,
        node_id=instance.node_id,
        kind=str(instance.kind),
        slot=instance.slot,
        state=str(instance.state),
        host=instance.host,
        port=instance.port,
        exit_code=instance.exit_code,
        error_code=instance.error_code,
        error_detail=instance.error_detail,
        created_at=instance.created_at,
        ready_at=instance.ready_at,
        stopped_at=instance.stopped_at,
    )
