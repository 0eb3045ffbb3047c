"""Builds and instances report; deployments move along their states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumers.deployments.rollout import Release, Standing, Step, next_step, release_of
from consumers.outcomes import Done, Outcome
from consumers.runtimes import runs
from db.models import Artifact, Deployment, Instance
from db.queries.artifacts import ArtifactGone, artifact_take
from db.queries.builds import builds_cancel
from db.queries.deployments import (
    deploying_until,
    deployment_active,
    deployment_find,
    deployment_lock,
    deployment_move,
    deployment_runtimes,
    deployments_older,
    deployments_running,
)
from db.queries.instances import (
    instance_create,
    instance_find,
    instance_find_by_deployment,
    release_create,
)
from db.queries.nodes import nodes_with_load
from db.queries.projects import environment_lock, environment_lock_if_there
from db.queries.releases import releases_live
from db.session import Transaction
from events.builds import BuildFailed, BuildStarted, BuildSucceeded
from events.instances import (
    InstanceFailed,
    InstanceKind,
    InstanceLost,
    InstanceReady,
    InstanceStopped,
)
from events.states import DeploymentState, InstanceState
from zeitwork import context, metrics
from zeitwork.errors import ReleaseLost

_RELEASE_SECONDS = 600  # where zeitwork.toml does not say
_TURN = "Waiting until the release command of another deployment has ended."
_LOST = (
    "The release command was started, but its node was lost before it said how it ended: it is "
    "not known whether it finished. The version before keeps serving. Look at what the command "
    "works on, run it by hand if need be, and deploy again."
)


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


@dataclass(frozen=True, slots=True)
class _Order:
    """A release command, and how long it may run."""

    command: str
    limit_seconds: int


async def build_started(tx: Transaction, event: BuildStarted) -> Outcome:
    deployment = await _lock(tx, event.deployment_id)
    if deployment is not None and deployment.state is DeploymentState.QUEUED:
        deployment_move(tx, deployment, DeploymentState.BUILDING)
    return Done()


async def build_succeeded(tx: Transaction, event: BuildSucceeded) -> Outcome:
    """The artifact exists: run its release command, then want its instances.

    Only this deployment's own build leads here, so whoever deploys an artifact that was kept runs
    no release command again.
    """
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
    await advance(tx, deployment)
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
    return await _look(tx, event.environment_id)


async def instance_failed(tx: Transaction, event: InstanceFailed) -> Outcome:
    return await _look(tx, event.environment_id)


async def instance_ended(tx: Transaction, event: InstanceStopped | InstanceLost) -> Outcome:
    """The end of a release command leads on; that of a web instance moves no deployment."""
    instance = await instance_find(tx.session, event.instance_id)
    if instance is None or instance.kind is not InstanceKind.RELEASE:
        return Done()
    return await _look(tx, event.environment_id)


async def _runs_nowhere(tx: Transaction, deployment: Deployment) -> bool:
    """Whether there are nodes, and none that takes this kind of artifact; else it may wait."""
    runtimes = await deployment_runtimes(tx.session, {deployment.id})
    nodes = await nodes_with_load(tx.session)
    return bool(nodes) and not any(runs(node.runtime, runtimes[deployment.id]) for node, _ in nodes)


def fail(tx: Transaction, deployment: Deployment, reason: Reason) -> None:
    """End a (locked) deployment; the one before it keeps serving."""
    deployment_move(tx, deployment, DeploymentState.FAILED, code=reason.code, detail=reason.detail)
    tx.on_commit(metrics.DEPLOYMENTS.labels("failed").inc)


async def advance(tx: Transaction, deployment: Deployment) -> None:
    """Take the next step of a (locked) deployment, if it is to take one."""
    if deployment.state is not DeploymentState.DEPLOYING:
        return
    release, web = await _instances(tx, deployment)
    order = await _order(tx, deployment)
    stands = release_of(
        order.command if order is not None else None,
        (release.state, release.exit_code) if release is not None else None,
    )
    active = await deployment_active(tx.session, deployment.environment_id)
    standing = Standing(
        number=deployment.number,
        replicas=deployment.replicas,
        instances=[instance.state for instance in web],
        newest_active=active.number if active is not None else None,
        release=stands,
        occupied=stands is Release.DUE
        and bool(await releases_live(tx.session, deployment.environment_id)),
    )
    with context.bind(correlation_id=deployment.correlation_id):
        match next_step(standing):
            case Step.WAIT:
                if standing.occupied and not web:
                    deployment.waiting_reason = _TURN
            case Step.RELEASE:
                assert order is not None  # noqa: S101 - what is due was ordered
                _release(tx, deployment, order)
            case Step.START:
                _start(tx, deployment)
            case Step.SUPERSEDE:
                deployment_move(tx, deployment, DeploymentState.SUPERSEDED)
            case Step.FAIL:
                fail(tx, deployment, _first_failure(release, web))
            case Step.ACTIVATE:
                await _activate(tx, deployment)


async def _look(tx: Transaction, environment_id: str) -> Outcome:
    """Let every deployment of an environment take its step: one may have waited for another.

    Newest first: what an older one would begin is in vain when a newer one serves.
    """
    if await environment_lock_if_there(tx.session, environment_id) is not None:
        for deployment in reversed(await deployments_running(tx.session, environment_id)):
            await advance(tx, deployment)
    return Done()


async def _instances(
    tx: Transaction, deployment: Deployment
) -> tuple[Instance | None, Sequence[Instance]]:
    """The run of its release command, if there is one, and its web instances."""
    found = await instance_find_by_deployment(tx.session, deployment.id)
    releases = [each for each in found if each.kind is InstanceKind.RELEASE]
    return (
        releases[0] if releases else None,
        [each for each in found if each.kind is InstanceKind.WEB],
    )


async def _order(tx: Transaction, deployment: Deployment) -> _Order | None:
    """What the deployment's artifact says of a release command."""
    if deployment.artifact_id is None:
        return None
    manifest = (await tx.session.get_one(Artifact, deployment.artifact_id)).manifest
    command = manifest.get("release")
    if command is None:
        return None
    declared = manifest.get("declared", {})
    return _Order(command, declared.get("release_timeout_seconds", _RELEASE_SECONDS))


def _release(tx: Transaction, deployment: Deployment, order: _Order) -> None:
    deployment.waiting_reason = None
    deployment.deadline_at = deploying_until(limit_seconds=order.limit_seconds)
    release_create(tx, deployment, command=order.command, limit_seconds=order.limit_seconds)


def _start(tx: Transaction, deployment: Deployment) -> None:
    deployment.waiting_reason = None
    deployment.deadline_at = deploying_until()
    for slot in range(deployment.replicas):
        instance_create(tx, deployment, slot=slot)


async def _activate(tx: Transaction, deployment: Deployment) -> None:
    older = await deployments_older(tx.session, deployment.environment_id, deployment.number)
    for other in older:
        await builds_cancel(tx, other.id)
        deployment_move(tx, other, DeploymentState.SUPERSEDED)
    deployment_move(tx, deployment, DeploymentState.ACTIVE)
    tx.on_commit(metrics.DEPLOYMENTS.labels("active").inc)


def _first_failure(release: Instance | None, web: Sequence[Instance]) -> Reason:
    for instance in web:
        if instance.state is InstanceState.FAILED:
            return Reason(
                instance.error_code or "instance_failed", instance.error_detail or "no detail"
            )
    if release is None:
        raise AssertionError("called without a failed instance")
    if release.error_code is None:
        return Reason(ReleaseLost.code, _LOST)
    return Reason(release.error_code, release.error_detail or "no detail")


async def _lock(tx: Transaction, deployment_id: str) -> Deployment | None:
    """Environment first, then the deployment: one order for everybody, so no deadlock."""
    found = await deployment_find(tx.session, deployment_id)
    if found is None:
        return None
    await environment_lock(tx.session, found.environment_id)
    return await deployment_lock(tx.session, deployment_id)
