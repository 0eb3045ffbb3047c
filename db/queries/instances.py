"""Instances: wanted, placed, reported, drained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Artifact, ArtifactLayer, Deployment, Instance, Node, Project
from db.session import Transaction
from events import instances as facts
from events.instances import InstanceKind
from events.nodes import NodeDesiredChanged
from events.states import DeploymentState, InstanceState, NodeState, terminal
from zeitwork import clock, ids

LIVE_STATES = tuple(
    state
    for state in InstanceState
    if not terminal(state) and state not in {InstanceState.FAILED, InstanceState.LOST}
)


@dataclass(frozen=True, slots=True)
class Assignment:
    """An instance with what its node needs to run it."""

    instance: Instance
    deployment: Deployment
    project: Project
    artifact: Artifact
    layers: Sequence[ArtifactLayer]


def instance_create(tx: Transaction, deployment: Deployment, *, slot: int) -> Instance:
    """A pending web instance of a deployment; the scheduler places it."""
    return _create(tx, deployment, slot=slot)


def release_create(
    tx: Transaction, deployment: Deployment, *, command: str, limit_seconds: int
) -> Instance:
    """The pending run of a deployment's release command; there can be only one."""
    return _create(
        tx,
        deployment,
        kind=InstanceKind.RELEASE,
        slot=0,
        command=command,
        limit_seconds=limit_seconds,
    )


def _create(tx: Transaction, deployment: Deployment, **fields: Any) -> Instance:
    instance = Instance(
        id=ids.new(ids.Prefix.INSTANCE),
        organisation_id=deployment.organisation_id,
        project_id=deployment.project_id,
        environment_id=deployment.environment_id,
        deployment_id=deployment.id,
        state=InstanceState.PENDING,
        **fields,
    )
    tx.session.add(instance)
    instance_emit(
        tx,
        instance,
        facts.InstanceCreated(
            instance_id=instance.id,
            deployment_id=deployment.id,
            environment_id=deployment.environment_id,
        ),
    )
    return instance


def instance_emit(tx: Transaction, instance: Instance, fact: facts.InstanceFact) -> None:
    tx.emit(
        fact,
        subject=instance.id,
        version=(instance.version or 0) + 1,
        organisation_id=instance.organisation_id,
        project_id=instance.project_id,
    )


def instance_drain(tx: Transaction, instance: Instance, *, stop_after: datetime) -> None:
    """Let a (locked) live instance finish what it serves and stop after that moment."""
    said = {
        "instance_id": instance.id,
        "deployment_id": instance.deployment_id,
        "environment_id": instance.environment_id,
    }
    if instance.node_id is None:
        instance.state = InstanceState.STOPPED
        instance.stopped_at = clock.now()
        instance_emit(tx, instance, facts.InstanceStopped(**said))
        return
    instance.state = InstanceState.DRAINING
    instance.stop_after = stop_after
    instance.deadline_at = None
    instance_emit(tx, instance, facts.InstanceDraining(**said))
    node_desired_changed(tx, instance.node_id)


def node_desired_changed(tx: Transaction, node_id: str) -> None:
    """Tell a node to look at its desired set again."""
    tx.emit(NodeDesiredChanged(node_id=node_id), subject=node_id)


async def instance_find(session: AsyncSession, instance_id: str) -> Instance | None:
    return await session.get(Instance, instance_id)


async def instance_lock(session: AsyncSession, instance_id: str) -> Instance | None:
    query = (
        select(Instance)
        .where(Instance.id == instance_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def instance_find_by_deployment(
    session: AsyncSession,
    deployment_id: str,
    *,
    kind: InstanceKind | None = None,
    states: Sequence[InstanceState] | None = None,
) -> Sequence[Instance]:
    """A deployment's instances by slot, oldest first; all, unless kind or states are named."""
    query = (
        select(Instance)
        .where(Instance.deployment_id == deployment_id)
        .order_by(Instance.slot, Instance.id)
    )
    if kind is not None:
        query = query.where(Instance.kind == kind)
    if states is not None:
        query = query.where(Instance.state.in_(states))
    return (await session.execute(query)).scalars().all()


async def instances_pending(session: AsyncSession, *, limit: int = 500) -> Sequence[Instance]:
    """Instances without a node, oldest first, locked; rows that others hold are left to them."""
    query = (
        select(Instance)
        .where(Instance.state == InstanceState.PENDING, Instance.node_id.is_(None))
        .order_by(Instance.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return (await session.execute(query)).scalars().all()


async def deployments_incomplete(
    session: AsyncSession, *, limit: int = 500
) -> Sequence[Deployment]:
    """Deployments that serve with fewer live instances than they should have."""
    live = (
        select(func.count())
        .where(
            Instance.deployment_id == Deployment.id,
            Instance.kind == InstanceKind.WEB,
            Instance.state.in_(LIVE_STATES),
        )
        .scalar_subquery()
    )
    query = (
        select(Deployment)
        .where(Deployment.state == DeploymentState.ACTIVE, live < Deployment.replicas)
        .order_by(Deployment.id)
        .limit(limit)
    )
    return (await session.execute(query)).scalars().all()


async def instances_to_drain(session: AsyncSession, environment_id: str) -> Sequence[Instance]:
    """Live instances of deployments that have ended, locked."""
    ended = (
        DeploymentState.SUPERSEDED,
        DeploymentState.FAILED,
        DeploymentState.CANCELLED,
        DeploymentState.STOPPED,
    )
    query = (
        select(Instance)
        .join(Deployment, Deployment.id == Instance.deployment_id)
        .where(
            Instance.environment_id == environment_id,
            Instance.state.in_(LIVE_STATES),
            Instance.state != InstanceState.DRAINING,
            Deployment.state.in_(ended),
        )
        .order_by(Instance.id)
        .with_for_update(of=Instance)
    )
    return (await session.execute(query)).scalars().all()


async def instances_stranded(session: AsyncSession) -> Sequence[Instance]:
    """Live instances of nodes that are lost or gone, locked; what others hold is left to them."""
    query = (
        select(Instance)
        .join(Node, Node.id == Instance.node_id)
        .where(
            Node.state.in_([NodeState.LOST, NodeState.GONE]),
            Instance.state.in_(LIVE_STATES),
        )
        .order_by(Instance.id)
        .with_for_update(of=Instance, skip_locked=True)
    )
    return (await session.execute(query)).scalars().all()


async def assignments_of_node(session: AsyncSession, node_id: str) -> Sequence[Assignment]:
    """Everything that a node is to run or to wind down."""
    query = (
        select(Instance, Deployment, Project, Artifact)
        .join(Deployment, Deployment.id == Instance.deployment_id)
        .join(Project, Project.id == Instance.project_id)
        .join(Artifact, Artifact.id == Deployment.artifact_id)
        .where(Instance.node_id == node_id, Instance.state.in_(LIVE_STATES))
        .order_by(Instance.id)
    )
    rows = (await session.execute(query)).all()
    layers: dict[str, list[ArtifactLayer]] = defaultdict(list)
    parts = (
        select(ArtifactLayer)
        .where(ArtifactLayer.artifact_id.in_({artifact.id for *_, artifact in rows}))
        .order_by(ArtifactLayer.position)
    )
    for layer in (await session.execute(parts)).scalars():
        layers[layer.artifact_id].append(layer)
    return [Assignment(*row, layers=layers[row[-1].id]) for row in rows]
