"""Instances without a node get one; what cannot be placed says why and waits."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from consumers.outcomes import Done, Outcome
from consumers.scheduling.placement import Candidate, place, why_nowhere
from consumers.scheduling.replacement import Occupant, vacant
from db.models import Deployment, Instance
from db.queries.deployments import (
    deploying_until,
    deployment_find,
    deployment_lock,
    deployment_runtimes,
)
from db.queries.instances import (
    LIVE_STATES,
    deployments_incomplete,
    instance_create,
    instance_find,
    instance_find_by_deployment,
    instances_pending,
    node_desired_changed,
)
from db.queries.nodes import nodes_with_load
from db.queries.projects import environment_lock, environment_lock_if_there
from db.session import Transaction, UnitOfWork
from events.instances import InstanceCreated, InstanceKind, InstanceLost
from events.nodes import NodeReady
from events.states import DeploymentState
from zeitwork import clock, context


async def instance_created(tx: Transaction, _event: InstanceCreated) -> Outcome:
    await place_pending(tx)
    return Done()


async def node_ready(tx: Transaction, _event: NodeReady) -> Outcome:
    await place_pending(tx)
    return Done()


async def instance_lost(tx: Transaction, event: InstanceLost) -> Outcome:
    """Replace a lost web instance while its deployment is still wanted."""
    await environment_lock_if_there(tx.session, event.environment_id)
    lost = await instance_find(tx.session, event.instance_id)
    deployment = await deployment_find(tx.session, event.deployment_id)
    wanted = {DeploymentState.DEPLOYING, DeploymentState.ACTIVE}
    if lost is None or deployment is None or deployment.state not in wanted:
        return Done()
    if lost.kind is not InstanceKind.WEB:
        return Done()
    live = await instance_find_by_deployment(
        tx.session, deployment.id, kind=InstanceKind.WEB, states=LIVE_STATES
    )
    if all(instance.slot != lost.slot for instance in live):
        instance_create(tx, deployment, slot=lost.slot)
    return Done()


async def place_pending(tx: Transaction) -> None:
    """Give every pending instance a node where one fits."""
    pending = await instances_pending(tx.session)
    if not pending:
        return
    nodes = await nodes_with_load(tx.session)
    load = {node.id: live for node, live in nodes}
    runtimes = await deployment_runtimes(tx.session, {one.deployment_id for one in pending})
    changed: set[str] = set()
    for instance in pending:
        siblings = await _siblings(tx, instance)
        candidates = [
            Candidate(node.id, node.state, load[node.id], siblings[node.id], node.runtime)
            for node, _ in nodes
        ]
        runtime = runtimes[instance.deployment_id]
        chosen = place(candidates, runtime=runtime)
        reason = None if chosen is not None else why_nowhere(candidates, runtime=runtime)
        await _explain(tx, instance, reason)
        if chosen is None:
            continue
        instance.node_id = chosen
        load[chosen] += 1
        changed.add(chosen)
    for node_id in sorted(changed):
        node_desired_changed(tx, node_id)


async def _siblings(tx: Transaction, instance: Instance) -> Counter[str]:
    live = await instance_find_by_deployment(tx.session, instance.deployment_id, states=LIVE_STATES)
    return Counter(other.node_id for other in live if other.node_id is not None)


async def _explain(tx: Transaction, instance: Instance, reason: str | None) -> None:
    """Write the reason into the deployment's row, or clear it once the instance has a node.

    The time that it waited is not held against it.
    """
    deployment = await deployment_find(tx.session, instance.deployment_id)
    if deployment is None or deployment.state is not DeploymentState.DEPLOYING:
        return
    if deployment.waiting_reason is not None and reason is None:
        deployment.deadline_at = deploying_until(limit_seconds=instance.limit_seconds)
    deployment.waiting_reason = reason


class PlacementReconciler:
    """One round: replace what deployments that serve have lost, and place what is still pending.

    The event that should have done it may be late, and no event leads to a failed one's successor.
    """

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    async def round(self) -> None:
        async with self._work.database.read() as session:
            incomplete = await deployments_incomplete(session)
        for deployment in incomplete:
            with context.bind(correlation_id=deployment.correlation_id):
                await self._complete(deployment)
        async with self._work.transaction() as tx:
            await place_pending(tx)

    async def _complete(self, seen: Deployment) -> None:
        async with self._work.transaction() as tx:
            await environment_lock(tx.session, seen.environment_id)
            deployment = await deployment_lock(tx.session, seen.id)
            if deployment is None or deployment.state is not DeploymentState.ACTIVE:
                return
            occupants = [
                Occupant(instance.slot, None if instance.state in LIVE_STATES else _end(instance))
                for instance in await instance_find_by_deployment(
                    tx.session, deployment.id, kind=InstanceKind.WEB
                )
            ]
            for slot in vacant(deployment.replicas, occupants, now=clock.now()):
                instance_create(tx, deployment, slot=slot)


def _end(instance: Instance) -> datetime:
    return instance.stopped_at or instance.created_at
