"""Triggers: what asked for deployments of a project, and what became of it."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from pydantic import BaseModel

from db.models import Trigger
from db.queries.triggers import trigger_find, triggers_page
from producers.api.call import Call
from producers.api.pages import page
from producers.api.projects import found
from zeitwork.errors import NotFound
from zeitwork.fields import Body, PageSize


class TriggerView(BaseModel):
    """What a caller sees; `reason` says why nothing was deployed."""

    id: str
    project_id: str
    environment_id: str | None
    deployment_id: str | None
    kind: str
    ref: str
    commit_sha: str | None
    actor: str
    state: str
    reason: str | None
    created_at: datetime
    decided_at: datetime | None


class TriggerQuery(Body):
    """How `index` pages (newest first)."""

    before: str | None = None
    limit: PageSize = 50


async def index(call: Call) -> web.Response:
    """`GET /projects/{project}/triggers`."""
    query = call.query(TriggerQuery)
    async with call.database.read() as session:
        project = await found(session, call)
        rows = await triggers_page(
            session, project_id=project.id, before=query.before, limit=query.limit
        )
    views = [view(row) for row in rows]
    return call.reply(200, page(views, limit=query.limit, cursor=views[-1].id if views else None))


async def show(call: Call) -> web.Response:
    """`GET /triggers/{trigger}`."""
    wanted = call.path("trigger")
    async with call.database.read() as session:
        trigger = await trigger_find(session, wanted)
    if trigger is None:
        raise NotFound(f"There is no trigger {wanted!r}.")
    return call.reply(200, view(trigger))


def view(trigger: Trigger) -> TriggerView:
    return TriggerView(
        id=trigger.id,
        project_id=trigger.project_id,
        environment_id=trigger.environment_id,
        deployment_id=trigger.deployment_id,
        kind=str(trigger.kind),
        ref=trigger.ref,
        commit_sha=trigger.commit_sha,
        actor=trigger.actor,
        state=str(trigger.state),
        reason=trigger.reason,
        created_at=trigger.created_at,
        decided_at=trigger.decided_at,
    )
