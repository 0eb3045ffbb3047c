"""Instances find a node, wait for one with a reason, and are replaced when they end too early."""

from __future__ import annotations

import asyncio

import pytest

from consumers.deployments.reconciler import DeploymentReconciler
from consumers.scheduling.handler import PlacementReconciler
from db.models import Deployment, Instance, Node
from db.session import UnitOfWork
from events.instances import InstanceCreated, InstanceLost
from events.nodes import NodeDesiredChanged, NodeReady
from events.states import DeploymentState, InstanceState, NodeState
from tests.support.factories import (
    Conveyor,
    Site,
    Version,
    add_node,
    add_site,
    add_version,
    changed,
    envelope,
    events_of,
    every,
    fetch,
    finish_build,
    live,
    replicas,
    report_all,
    serve,
    serving,
)
from zeitwork import clock


@pytest.fixture
async def site(work: UnitOfWork) -> Site:
    return await add_site(work)


@pytest.fixture
def conveyor(work: UnitOfWork) -> Conveyor:
    return Conveyor(work)


async def waiting_for(work: UnitOfWork, version: Version) -> str | None:
    reason: str | None = (await fetch(work, Deployment, version.deployment.id)).waiting_reason
    return reason


async def test_a_lost_instance_is_replaced_once(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    await add_node(work)
    version = await add_version(work, site)
    await serve(conveyor, work, version)
    (instance,) = await every(work, Instance)
    async with changed(work, Instance, instance.id) as row:
        row.state = InstanceState.LOST
    said = InstanceLost(
        instance_id=instance.id,
        deployment_id=instance.deployment_id,
        environment_id=instance.environment_id,
    )
    with clock.using(clock.FakeClock(clock.now())) as time:
        time.advance(3600)  # the reconciler may replace it too
        await asyncio.gather(
            *(conveyor.deliver(envelope(said, subject=instance.id)) for _ in range(4)),
            *(PlacementReconciler(work).round() for _ in range(4)),
        )
    await conveyor.settle()
    assert len(await every(work, Instance)) == 2


async def test_what_a_serving_deployment_lacks_is_replaced_but_not_in_a_hurry(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    """An instance that its node has given up would leave the site down for good."""
    node_id = await add_node(work)
    version = await add_version(work, site)
    await serve(conveyor, work, version)
    with clock.using(clock.FakeClock(clock.now())) as time:
        for wait in (10, 20, 40):
            await report_all(conveyor, work, version, InstanceState.FAILED, code="x", detail="y")
            assert await serving(work) == 0
            time.advance(wait - 1)
            await PlacementReconciler(work).round()
            assert await live(work, version) == {}
            time.advance(1)
            await asyncio.gather(*(PlacementReconciler(work).round() for _ in range(3)))
            assert await live(work, version) == {0: node_id}
        await conveyor.settle()
        await report_all(conveyor, work, version, InstanceState.READY)
    assert await serving(work) == 1
    assert (await fetch(work, Deployment, version.deployment.id)).state is DeploymentState.ACTIVE
    created = await events_of(work.database, type_=InstanceCreated.event_type)
    assert len(created) == 4
    assert {row.correlation_id for row in created[1:]} == {version.deployment.correlation_id}


async def test_a_deployment_that_does_not_serve_gets_no_more_instances(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    await add_node(work)
    bad = await add_version(work, site)
    await finish_build(work, bad)
    await conveyor.settle()
    await report_all(conveyor, work, bad, InstanceState.FAILED, code="x", detail="y")
    with clock.using(clock.FakeClock(clock.now())) as time:
        time.advance(3600)
        await PlacementReconciler(work).round()
    assert len(await every(work, Instance)) == 1


async def test_without_a_node_a_deployment_says_so_waits_and_goes_on_when_one_joins(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    version = await add_version(work, site)
    await finish_build(work, version)
    await conveyor.settle()
    assert "none has joined yet" in str(await waiting_for(work, version))
    with clock.using(clock.FakeClock(clock.now())) as time:
        for _ in range(5):
            time.advance(3600)
            await DeploymentReconciler(work).round()
        waiting = await fetch(work, Deployment, version.deployment.id)
        assert waiting.state is DeploymentState.DEPLOYING
        node_id = await add_node(work, state=NodeState.SUSPECT)
        await PlacementReconciler(work).round()
        assert "none is ready (1 suspect)" in str(await waiting_for(work, version))
        async with changed(work, Node, node_id) as node:
            node.state = NodeState.READY
        time.advance(400)  # past the deadline: the time that it waited is not held against it
        await conveyor.deliver(envelope(NodeReady(node_id=node_id), subject=node_id))
        going = await fetch(work, Deployment, version.deployment.id)
        assert going.waiting_reason is None
        assert going.deadline_at > clock.now()
        assert await live(work, version) == {0: node_id}
        await report_all(conveyor, work, version, InstanceState.READY)
    served = await fetch(work, Deployment, version.deployment.id)
    assert served.state is DeploymentState.ACTIVE


async def test_the_reconciler_places_what_its_event_did_not(work: UnitOfWork, site: Site) -> None:
    node_id = await add_node(work)
    version = await add_version(work, site)
    await finish_build(work, version)
    await Conveyor(work, groups=("deployments",)).settle()
    assert await live(work, version) == {0: None}
    await PlacementReconciler(work).round()
    assert await live(work, version) == {0: node_id}
    (told,) = await events_of(work.database, type_=NodeDesiredChanged.event_type)
    assert told.aggregate_id == node_id


async def test_schedulers_side_by_side_place_each_instance_once_and_spread(
    work: UnitOfWork, site: Site
) -> None:
    await replicas(work, site, 6)
    nodes = [await add_node(work, name) for name in ("a", "b", "c")]
    version = await add_version(work, site)
    await finish_build(work, version)
    await Conveyor(work, groups=("deployments",)).settle()
    await asyncio.gather(*(PlacementReconciler(work).round() for _ in range(5)))
    placed = [str(node_id) for node_id in (await live(work, version)).values()]
    assert sorted(placed) == sorted(nodes * 2)
    told = await events_of(work.database, type_=NodeDesiredChanged.event_type)
    assert sorted(row.aggregate_id for row in told) == sorted(nodes)
