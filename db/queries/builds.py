"""Builds, their leases and log lines, and artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Artifact, Build, BuildLog
from db.session import Transaction
from events.builds import BuildCancelled
from events.states import BuildState
from zeitwork import clock, ids


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


async def builds_cancel(tx: Transaction, deployment_id: str) -> None:
    """Cancel what a deployment still has to build; a builder notices when it renews its lease."""
    query = (
        select(Build)
        .where(
            Build.deployment_id == deployment_id,
            Build.state.in_([BuildState.QUEUED, BuildState.RUNNING]),
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


async def build_logs_append(
    session: AsyncSession, build: Build, lines: Sequence[tuple[int, datetime, str]]
) -> None:
    """Store numbered lines; one that is already there stays (a retry of an unknown outcome)."""
    if not lines:
        return
    rows = [
        {
            "build_id": build.id,
            "organisation_id": build.organisation_id,
            "line_number": number,
            "at": at,
            "line": line,
        }
        for number, at, line in lines
    ]
    await session.execute(insert(BuildLog).values(rows).on_conflict_do_nothing())


async def build_logs_read(
    session: AsyncSession, build_id: str, *, after: int, limit: int
) -> Sequence[BuildLog]:
    """Lines behind number `after`, in order."""
    query = (
        select(BuildLog)
        .where(BuildLog.build_id == build_id, BuildLog.line_number > after)
        .order_by(BuildLog.line_number)
        .limit(limit)
    )
    return (await session.execute(query)).scalars().all()


async def build_logs_last(session: AsyncSession, build_id: str) -> int:
    """The highest line number so far; 0 without lines."""
    query = (
        select(BuildLog.line_number)
        .where(BuildLog.build_id == build_id)
        .order_by(BuildLog.line_number.desc())
        .limit(1)
    )
    return (await session.execute(query)).scalar_one_or_none() or 0


async def artifact_upsert(
    session: AsyncSession, build: Build, *, digest: str, size: int, manifest: dict[str, Any]
) -> str:
    """Note an artifact of a project; equal content keeps its id and takes the manifest."""
    statement = (
        insert(Artifact)
        .values(
            id=ids.new(ids.Prefix.ARTIFACT),
            organisation_id=build.organisation_id,
            project_id=build.project_id,
            digest=digest,
            size=size,
            manifest=manifest,
        )
        .on_conflict_do_update(
            index_elements=[Artifact.project_id, Artifact.digest], set_={"manifest": manifest}
        )
        .returning(Artifact.id)
    )
    return (await session.execute(statement)).scalar_one()


async def artifact_find(session: AsyncSession, artifact_id: str) -> Artifact | None:
    return await session.get(Artifact, artifact_id)
