"""Release commands: the one instance that runs a deployment's, and who is still before theirs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Deployment, Instance
from db.queries.instances import LIVE_STATES
from events.instances import InstanceKind
from events.states import DeploymentState


async def releases_live(session: AsyncSession, environment_id: str) -> Sequence[Instance]:
    """Release commands of an environment that run, are to run, or are being stopped."""
    query = (
        select(Instance)
        .where(
            Instance.environment_id == environment_id,
            Instance.kind == InstanceKind.RELEASE,
            Instance.state.in_(LIVE_STATES),
        )
        .order_by(Instance.id)
    )
    return (await session.execute(query)).scalars().all()


async def deployments_releasing(
    session: AsyncSession, deployment_ids: Collection[str]
) -> frozenset[str]:
    """Those of the deployments whose release command runs or waits for its turn."""
    query = select(Deployment.id).where(Deployment.id.in_(deployment_ids), *_releasing())
    return frozenset((await session.execute(query)).scalars())


async def releases_idle(session: AsyncSession, *, limit: int) -> Sequence[Deployment]:
    """Deployments that are releasing while no release command of theirs runs, oldest first."""
    running = exists().where(
        Instance.deployment_id == Deployment.id,
        Instance.kind == InstanceKind.RELEASE,
        Instance.state.in_(LIVE_STATES),
    )
    query = select(Deployment).where(*_releasing(), ~running).order_by(Deployment.id).limit(limit)
    return (await session.execute(query)).scalars().all()


def _releasing() -> Sequence[ColumnElement[bool]]:
    """Its artifact is there and it wants no web instance yet: only a release comes between."""
    web = exists().where(Instance.deployment_id == Deployment.id, Instance.kind == InstanceKind.WEB)
    return Deployment.state == DeploymentState.DEPLOYING, ~web
