"""Builds and instances report; deployments move along their states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumers.deployments.rollout import Standing, Step, next_step
from consumers.outcomes import Done, Outcome
from consumers.runtimes import runs
from db.models import Deployment, Instance
from db.queries.artifacts import ArtifactGone, artifact_take
from db.queries.builds import builds_cancel
from db.queries.deployments import (
    deployment_active,
    deployment_find,
    deployment_lock,
    deployment_move,
    deployment_runtimes,
    deployments_older,
)
from db.queries.instances import instance_create, instance_find_by_deployment
from db.queries.nodes import nodes_with_load
from db.queries.projects import environment_lock
from db.session import Transaction
from events.builds import BuildFailed, BuildStarted, BuildSucceeded
from events.instances import InstanceFailed, InstanceReady
from events.states import DeploymentState, InstanceState
from zeitwork import metrics


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a deployment failed: a stable code and a sentence."""

    code: str
    detail: str


_NO_IMAGES = Reason(
    "runtime_missing",
    "The build is an image, and no node runs images. Add a node with the docker runtime, or name "
    "another builder in zeitwork.toml.",
)


async def build_started(tx: Transaction, event: BuildStarted) -> Outcome:
    deployment = await _lock(tx, event.deployment_id)
    if deployment is not None and deployment.state is DeploymentState.QUEUED:
        deployment_move(tx, deployment, DeploymentState.BUILDING)
    return Done()


async def build_succeeded(tx: Transaction, event: BuildSucceeded) -> Outcome:
    """The artifact exists: want its instances."""
    deployment = await _lock(tx, event.deployment_id)
    if deployment is None or deployment.state not in {
        DeploymentState.QUEUED,
        DeploymentState.BUILDING,
    }:
        return Done()
    try:
        await artifact_take(tx.session, event.artifact_id)
    except ArtifactGone as error:
        fail(tx, deployment, Reason(error.code, error.message))
        return Done()
    deployment.artifact_id = event.artifact_id
    await tx.session.flush()
    if await _runs_nowhere(tx, deployment):
        fail(tx, deployment, _NO_IMAGES)
        return Done()
    deployment_move(tx, deployment, DeploymentState.DEPLOYING)
    for slot in range(deployment.replicas):
        instance_create(tx, deployment, slot=slot)
    return Done()


async def build_failed(tx: Transaction, event: BuildFailed) -> Outcome:
    deployment = await _lock(tx, event.deployment_id)
    if deployment is not None and deployment.state in {
        DeploymentState.QUEUED,
        DeploymentState.BUILDING,
    }:
        fail(tx, deployment, Reason(event.code, event.detail))
    return Done()


async def instance_ready(tx: Transaction, event: InstanceReady) -> Outcome:
    return await _advance(tx, event.deployment_id)


async def instance_failed(tx: Transaction, event: InstanceFailed) -> Outcome:
    return await _advance(tx, event.deployment_id)


async def _runs_nowhere(tx: Transaction, deployment: Deployment) -> bool:
    """Whether there are nodes, and none that takes this kind of artifact; else it may wait."""
    runtimes = await deployment_runtimes(tx.session, {deployment.id})
    nodes = await nodes_with_load(tx.session)
    return bool(nodes) and not any(runs(node.runtime, runtimes[deployment.id]) for node, _ in nodes)


def fail(tx: Transaction, deployment: Deployment, reason: Reason) -> None:
    """End a (locked) deployment; the one before it keeps serving."""
    deployment_move(tx, deployment, DeploymentState.FAILED, code=reason.code, detail=reason.detail)
    tx.on_commit(metrics.DEPLOYMENTS.labels("failed").inc)


async def _advance(tx: Transaction, deployment_id: str) -> Outcome:
    deployment = await _lock(tx, deployment_id)
    if deployment is None or deployment.state is not DeploymentState.DEPLOYING:
        return Done()
    instances = await instance_find_by_deployment(tx.session, deployment.id)
    active = await deployment_active(tx.session, deployment.environment_id)
    standing = Standing(
        number=deployment.number,
        replicas=deployment.replicas,
        instances=[instance.state for instance in instances],
        newest_active=active.number if active is not None else None,
    )
    match next_step(standing):
        case Step.WAIT:
            pass
        case Step.SUPERSEDE:
            deployment_move(tx, deployment, DeploymentState.SUPERSEDED)
        case Step.FAIL:
            fail(tx, deployment, _first_failure(instances))
        case Step.ACTIVATE:
            await _activate(tx, deployment)
    return Done()


async def _activate(tx: Transaction, deployment: Deployment) -> None:
    older = await deployments_older(tx.session, deployment.environment_id, deployment.number)
    for other in older:
        await builds_cancel(tx, other.id)
        deployment_move(tx, other, DeploymentState.SUPERSEDED)
    deployment_move(tx, deployment, DeploymentState.ACTIVE)
    tx.on_commit(metrics.DEPLOYMENTS.labels("active").inc)


def _first_failure(instances: Sequence[Instance]) -> Reason:
    for instance in instances:
        if instance.state is InstanceState.FAILED:
            return Reason(
                instance.error_code or "instance_failed", instance.error_detail or "no detail"
            )
    raise AssertionError("called without a failed instance")


async def _lock(tx: Transaction, deployment_id: str) -> Deployment | None:
    """Environment first, then the deployment: one order for everybody, so no deadlock."""
    found = await deployment_find(tx.session, deployment_id)
    if found is None:
        return None
    await environment_lock(tx.session, found.environment_id)
    return await deployment_lock(tx.session, deployment_id)
