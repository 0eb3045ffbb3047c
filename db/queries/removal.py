"""Taking environments and projects down: what runs is stopped first, then every row goes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Build, Deployment, Environment, Instance, Project, RoutingCache
from db.queries.builds import builds_cancel
from db.queries.deployments import deployment_move, deployments_running
from db.queries.instances import LIVE_STATES
from db.queries.projects import environment_lock, environments_of
from db.session import Transaction
from events.environments import EnvironmentClosing, EnvironmentRemoved
from events.projects import ProjectRemoved
from events.states import DeploymentState
from zeitwork import clock


async def environment_close(tx: Transaction, environment: Environment, *, reason: str) -> None:
    """Stop everything in a (locked) environment; nothing is deployed to it any more."""
    if environment.closing_at is not None:
        return
    environment.closing_at = clock.now()
    environment.closing_reason = reason
    for deployment in await deployments_running(tx.session, environment.id):
        await builds_cancel(tx, deployment.id)
        serves = deployment.state is DeploymentState.ACTIVE
        target = DeploymentState.STOPPED if serves else DeploymentState.CANCELLED
        deployment_move(tx, deployment, target)
    tx.emit(
        EnvironmentClosing(environment_id=environment.id, reason=reason),
        subject=environment.id,
        version=environment.version + 1,
        organisation_id=environment.organisation_id,
        project_id=environment.project_id,
    )


async def project_close(tx: Transaction, project: Project, *, reason: str) -> None:
    """Close a (locked) project with all its environments."""
    if project.closing_at is not None:
        return
    project.closing_at = clock.now()
    for environment in await environments_of(tx.session, project.id):
        locked = await environment_lock(tx.session, environment.id)
        await environment_close(tx, locked, reason=reason)


async def environments_closing(session: AsyncSession, *, limit: int) -> Sequence[Environment]:
    """Closing ones in which nothing runs, builds or is routed any more, longest first."""
    query = select(Environment).where(*_idle()).order_by(Environment.closing_at).limit(limit)
    return (await session.execute(query)).scalars().all()


async def environment_idle(session: AsyncSession, environment_id: str) -> bool:
    """Whether `environments_closing` would still name it."""
    query = select(Environment.id).where(Environment.id == environment_id, *_idle())
    return (await session.execute(query)).scalar_one_or_none() is not None


async def environment_delete(tx: Transaction, environment: Environment) -> None:
    """Delete a (locked) environment with its deployments; artifacts left alone go later."""
    await tx.session.execute(delete(Environment).where(Environment.id == environment.id))
    tx.emit(
        EnvironmentRemoved(environment_id=environment.id, project_id=environment.project_id),
        subject=environment.id,
        version=environment.version + 1,
        organisation_id=environment.organisation_id,
        project_id=environment.project_id,
    )


async def projects_closing(session: AsyncSession, *, limit: int) -> Sequence[Project]:
    """Closing projects without an environment."""
    environments = exists().where(Environment.project_id == Project.id)
    query = (
        select(Project)
        .where(Project.closing_at.is_not(None), ~environments)
        .order_by(Project.closing_at)
        .limit(limit)
    )
    return (await session.execute(query)).scalars().all()


async def project_delete(tx: Transaction, project: Project) -> None:
    """Delete a (locked) project without environments."""
    await tx.session.execute(delete(Project).where(Project.id == project.id))
    tx.emit(
        ProjectRemoved(project_id=project.id, slug=project.slug),
        subject=project.id,
        version=project.version + 1,
        organisation_id=project.organisation_id,
        project_id=project.id,
    )


def _idle() -> Sequence[ColumnElement[bool]]:
    live = exists().where(
        Instance.environment_id == Environment.id, Instance.state.in_(LIVE_STATES)
    )
    # A builder that was called off works on until it looks; its log lines need their build.
    building = exists().where(
        Build.deployment_id == Deployment.id,
        Deployment.environment_id == Environment.id,
        Build.lease_until > clock.now(),
    )
    routed = exists().where(RoutingCache.environment_id == Environment.id)
    return Environment.closing_at.is_not(None), ~live, ~building, ~routed
