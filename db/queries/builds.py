"""Builds and their leases."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Build, EventLog, Outbox
from db.session import Transaction
from events.builds import BuildCancelled, BuildRequested
from events.states import BuildState
from zeitwork import clock

OPEN_STATES = (BuildState.QUEUED, BuildState.RUNNING)


@dataclass(frozen=True, slots=True)
class Request:
    """One time that a build was asked for; `waits` while the relay has not taken it."""

    event: EventLog
    waits: bool


async def build_find(session: AsyncSession, build_id: str) -> Build | None:
    return await session.get(Build, build_id)


async def build_lock(session: AsyncSession, build_id: str) -> Build | None:
    query = (
        select(Build)
        .where(Build.id == build_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def builds_of(session: AsyncSession, deployment_id: str) -> Sequence[Build]:
    """A deployment's builds, newest first."""
    query = select(Build).where(Build.deployment_id == deployment_id).order_by(Build.id.desc())
    return (await session.execute(query)).scalars().all()


async def builds_page(
    session: AsyncSession,
    *,
    project_id: str | None,
    unfinished: bool,
    before: str | None,
    limit: int,
) -> Sequence[Build]:
    """Newest first; `before` is the last id of the page before."""
    query = select(Build).order_by(Build.id.desc()).limit(limit)
    if project_id is not None:
        query = query.where(Build.project_id == project_id)
    if unfinished:
        query = query.where(Build.finished_at.is_(None))
    if before is not None:
        query = query.where(Build.id < before)
    return (await session.execute(query)).scalars().all()


async def builds_stranded(
    session: AsyncSession, *, created_before: datetime, lease_before: datetime, limit: int
) -> Sequence[Build]:
    """Builds that nobody seems to work on, oldest first: queued, or running without a lease."""
    idle = or_(Build.lease_until.is_(None), Build.lease_until < lease_before)
    begun = or_(Build.started_at.is_(None), Build.started_at < lease_before)
    query = (
        select(Build)
        .where(
            Build.finished_at.is_(None),
            or_(
                and_(Build.state == BuildState.QUEUED, Build.created_at < created_before, idle),
                and_(Build.state == BuildState.RUNNING, begun, idle),
            ),
        )
        .order_by(Build.id)
        .limit(limit)
    )
    return (await session.execute(query)).scalars().all()


async def build_requests(session: AsyncSession, build_id: str) -> Sequence[Request]:
    """Each time that it was asked for, newest first."""
    query = (
        select(EventLog, Outbox.event_log_id)
        .outerjoin(Outbox, Outbox.event_log_id == EventLog.id)
        .where(EventLog.aggregate_id == build_id, EventLog.type == BuildRequested.event_type)
        .order_by(EventLog.id.desc())
    )
    rows = (await session.execute(query)).all()
    return [Request(event, waiting is not None) for event, waiting in rows]


async def builds_open(session: AsyncSession) -> Sequence[Build]:
    """What is still to be built, oldest first."""
    query = select(Build).where(Build.finished_at.is_(None)).order_by(Build.id)
    return (await session.execute(query)).scalars().all()


async def builds_cancel(tx: Transaction, deployment_id: str) -> None:
    """Cancel what a deployment still has to build; a builder notices when it renews its lease."""
    query = (
        select(Build)
        .where(
            Build.deployment_id == deployment_id,
            Build.state.in_(OPEN_STATES),
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    for build in (await tx.session.execute(query)).scalars().all():
        build.state = BuildState.CANCELLED
        build.finished_at = clock.now()
        tx.emit(
            BuildCancelled(build_id=build.id, deployment_id=deployment_id),
            subject=build.id,
            version=build.version + 1,
            organisation_id=build.organisation_id,
            project_id=build.project_id,
        )


async def build_held_until(session: AsyncSession, deployment_id: str) -> datetime | None:
    """Until when a builder holds the build of a deployment, if any does."""
    query = select(func.max(Build.lease_until)).where(
        Build.deployment_id == deployment_id, Build.state == BuildState.RUNNING
    )
    return (await session.execute(query)).scalar_one()


async def build_renew(session: AsyncSession, build_id: str, *, token: str, until: datetime) -> bool:
    """Extend a builder's lease; False when the build is no longer its own to run."""
    statement = (
        update(Build)
        .where(Build.id == build_id, Build.lease_token == token, Build.state == BuildState.RUNNING)
        .values(lease_until=until)
        .returning(Build.id)
        .execution_options(synchronize_session=False)
    )
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def builds_let_go(session: AsyncSession, names: Collection[str], *, builder: str) -> None:
    """End the leases of builds of that builder whose ids are among `names`."""
    held = select(Build.id).where(Build.builder == builder, Build.state == BuildState.RUNNING)
    # Names of directories: what else lies there is no id, and no parameter for the database.
    gone = [build_id for build_id in await session.scalars(held) if build_id in names]
    await session.execute(
        update(Build)
        .where(Build.id.in_(gone), Build.builder == builder, Build.state == BuildState.RUNNING)
        .values(lease_until=None)
        .execution_options(synchronize_session=False)
    )
