"""Previews: list, show, approve one of a fork."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from pydantic import BaseModel

from db.models import Environment, Preview
from db.queries.previews import (
    preview_emit,
    preview_find,
    preview_lock,
    previews_page,
)
from db.queries.projects import environments_of, project_lock
from events.previews import PreviewApproved
from events.states import PreviewState
from producers.api.call import Call
from producers.api.pages import page
from producers.api.projects import found, url_of
from zeitwork import context
from zeitwork.config import Settings
from zeitwork.errors import Conflict, NotFound
from zeitwork.fields import Body, CommitSha, PageSize


class PreviewView(BaseModel):
    """What a caller sees; `reason` is what it waits for, or why it ends."""

    id: str
    project_id: str
    environment_id: str | None
    pull_number: int | None
    branch: str
    from_fork: bool
    state: str
    reason: str | None
    head_sha: str
    deployed_sha: str | None
    approved_sha: str | None
    approved_by: str | None
    url: str | None
    created_at: datetime
    expires_at: datetime


class PreviewQuery(Body):
    """How `index` pages (oldest first)."""

    after: str | None = None
    limit: PageSize = 100


class Approval(Body):
    """What `approve` takes: the commit that was looked at, so that no other one is let in."""

    commit_sha: CommitSha


async def index(call: Call) -> web.Response:
    """`GET /projects/{project}/previews`."""
    query = call.query(PreviewQuery)
    async with call.database.read() as session:
        project = await found(session, call)
        rows = await previews_page(
            session, project_id=project.id, after=query.after, limit=query.limit
        )
        hosts = {each.id: each.host for each in await environments_of(session, project.id)}
    views = [view(row, hosts.get(row.environment_id or ""), call.settings) for row in rows]
    return call.reply(200, page(views, limit=query.limit, cursor=views[-1].id if views else None))


async def show(call: Call) -> web.Response:
    """`GET /previews/{preview}`."""
    wanted = call.path("preview")
    async with call.database.read() as session:
        preview = await preview_find(session, wanted)
        if preview is None:
            raise NotFound(f"There is no preview {wanted!r}.")
        host = None
        if preview.environment_id is not None:
            host = (await session.get_one(Environment, preview.environment_id)).host
    return call.reply(200, view(preview, host, call.settings))


async def approve(call: Call) -> web.Response:
    """`POST /previews/{preview}/approve`: let one commit of a fork be built and served."""
    body = await call.body(Approval)
    wanted = call.path("preview")
    async with call.work.transaction() as tx:
        seen = await preview_find(tx.session, wanted)
        if seen is not None:
            await project_lock(tx.session, seen.project_id)
        preview = await preview_lock(tx.session, wanted)
        if preview is None:
            raise NotFound(f"There is no preview {wanted!r}.")
        if preview.state is PreviewState.CLOSING or not preview.from_fork:
            raise Conflict("It waits for no approval.")
        if preview.head_sha != body.commit_sha:
            raise Conflict(f"Its newest commit is {preview.head_sha}: look at that one first.")
        preview.approved_sha = body.commit_sha
        preview.approved_by = context.current().actor
        said = PreviewApproved(
            preview_id=preview.id,
            repository=preview.repository,
            pull_number=preview.pull_number,
            commit_sha=body.commit_sha,
        )
        preview_emit(tx, preview, said)
    return call.reply(202, view(preview, None, call.settings))


def view(preview: Preview, host: str | None, settings: Settings) -> PreviewView:
    return PreviewView(
        id=preview.id,
        project_id=preview.project_id,
        environment_id=preview.environment_id,
        pull_number=preview.pull_number,
        branch=preview.branch,
        from_fork=preview.from_fork,
        state=str(preview.state),
        reason=preview.reason,
        head_sha=preview.head_sha,
        deployed_sha=preview.deployed_sha,
        approved_sha=preview.approved_sha,
        approved_by=preview.approved_by,
        url=url_of(host, settings) if host is not None else None,
        created_at=preview.created_at,
        expires_at=preview.expires_at,
    )
