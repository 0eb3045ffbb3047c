"""Previews: finding and locking them, and moving them along."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Preview, Project
from db.queries.github_app import source_gone
from db.queries.projects import environment_lock
from db.queries.removal import environment_close
from db.session import Transaction
from events import previews as facts
from events.states import PreviewState, check


async def preview_find(session: AsyncSession, preview_id: str) -> Preview | None:
    return await session.get(Preview, preview_id)


async def preview_lock(session: AsyncSession, preview_id: str) -> Preview | None:
    """The preview's row, locked; lock its project first."""
    return await _locked(session, Preview.id == preview_id)


async def preview_lock_by_source(
    session: AsyncSession, project_id: str, source: str
) -> Preview | None:
    return await _locked(session, (Preview.project_id == project_id) & (Preview.source == source))


async def previews_active(session: AsyncSession, project_id: str) -> int:
    """How many run; those that are being taken down still do."""
    query = select(func.count()).where(
        Preview.project_id == project_id, Preview.environment_id.is_not(None)
    )
    return (await session.execute(query)).scalar_one()


async def previews_page(
    session: AsyncSession, *, project_id: str | None, after: str | None, limit: int
) -> Sequence[Preview]:
    """Oldest first; `after` is the last id of the page before."""
    query = select(Preview).order_by(Preview.id).limit(limit)
    if project_id is not None:
        query = query.where(Preview.project_id == project_id)
    if after is not None:
        query = query.where(Preview.id > after)
    return (await session.execute(query)).scalars().all()


async def previews_of_branch(
    session: AsyncSession, repository: str, branch: str
) -> Sequence[Preview]:
    """Previews of a branch of that very repository, not of a fork's."""
    query = (
        select(Preview)
        .where(
            Preview.repository == repository,
            Preview.branch == branch,
            Preview.from_fork.is_(False),
        )
        .order_by(Preview.project_id, Preview.id)
    )
    return (await session.execute(query)).scalars().all()


async def previews_of_environment(session: AsyncSession, environment_id: str) -> Sequence[Preview]:
    query = select(Preview).where(Preview.environment_id == environment_id)
    return (await session.execute(query)).scalars().all()


async def previews_unwanted(
    session: AsyncSession, now: datetime, *, limit: int
) -> Sequence[Preview]:
    """What has expired, and what is left of a project that can make no previews any more."""
    query = (
        select(Preview)
        .join(Project, Project.id == Preview.project_id)
        .where(
            or_(Preview.expires_at < now, Project.previews_enabled.is_(False), source_gone()),
            Preview.state != PreviewState.CLOSING,
        )
        .order_by(Preview.expires_at)
        .limit(limit)
    )
    return (await session.execute(query)).scalars().all()


async def previews_waiting(session: AsyncSession, *, limit: int) -> Sequence[Preview]:
    """What may have waited long enough, oldest first."""
    query = (
        select(Preview)
        .where(Preview.state == PreviewState.WAITING)
        .order_by(Preview.id)
        .limit(limit)
    )
    return (await session.execute(query)).scalars().all()


def preview_emit(tx: Transaction, preview: Preview, fact: facts.PreviewFact) -> None:
    tx.emit(
        fact,
        subject=preview.id,
        version=(preview.version or 0) + 1,
        organisation_id=preview.organisation_id,
        project_id=preview.project_id,
    )


async def preview_close(tx: Transaction, preview: Preview, *, reason: str) -> None:
    """Take a (locked) preview down; one that never had an environment is gone at once."""
    if preview.state is PreviewState.CLOSING:
        return
    check(preview.state, PreviewState.CLOSING)
    preview.state, preview.reason = PreviewState.CLOSING, reason
    closed = facts.PreviewClosed(
        preview_id=preview.id,
        repository=preview.repository,
        pull_number=preview.pull_number,
        reason=reason,
    )
    preview_emit(tx, preview, closed)
    if preview.environment_id is None:
        await tx.session.delete(preview)
        return
    environment = await environment_lock(tx.session, preview.environment_id)
    await environment_close(tx, environment, reason=reason)


async def _locked(session: AsyncSession, where: ColumnElement[bool]) -> Preview | None:
    query = select(Preview).where(where).with_for_update().execution_options(populate_existing=True)
    return (await session.execute(query)).scalar_one_or_none()
