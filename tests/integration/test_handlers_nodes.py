"""Nodes come, fall silent, are given up with what runs on them, and return."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from typing_extensions import override

from consumers.nodes.heartbeats import HeartbeatListener, NodeReconciler
from db.models import Deployment, Instance, Node
from db.session import UnitOfWork
from events import subjects
from events.instances import InstanceLost
from events.memory import MemoryBus
from events.nodes import Heartbeat, NodeLost, NodeReady, NodeSuspect
from events.states import DeploymentState, InstanceState, NodeState
from tests.support.digest import unfinished
from tests.support.eventually import eventually
from tests.support.factories import (
    Conveyor,
    Site,
    add_node,
    add_site,
    add_version,
    changed,
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
from zeitwork import clock, ids

LOST, READY, SUSPECT = NodeState.LOST, NodeState.READY, NodeState.SUSPECT
STEP_SECONDS = 5


class DeafBus(MemoryBus):
    """A bus whose broker may be away."""

    away = False

    @override
    async def ready(self) -> str | None:
        return "away" if self.away else None


@pytest.fixture
def deaf_bus() -> DeafBus:
    return DeafBus()


@pytest.fixture
async def site(work: UnitOfWork) -> Site:
    return await add_site(work)


@pytest.fixture
def conveyor(work: UnitOfWork) -> Conveyor:
    return Conveyor(work)


class Watch:
    """The reconciler's rounds over time, while some of the nodes are heard."""

    def __init__(self, work: UnitOfWork, bus: MemoryBus, time: clock.FakeClock) -> None:
        self._work = work
        self._time = time
        self._reconciler = NodeReconciler(bus, work)

    async def look(self, seconds: float = 0, *, heard: Sequence[str] = ()) -> None:
        """Let time go by in steps as long as those of the loop."""
        await self._reconciler.round()
        for _ in range(int(seconds / STEP_SECONDS)):
            self._time.advance(STEP_SECONDS)
            for node_id in heard:
                async with changed(self._work, Node, node_id) as node:
                    node.last_seen_at = clock.now()
            await self._reconciler.round()


async def states(work: UnitOfWork) -> dict[str, NodeState]:
    return {node.name: node.state for node in await every(work, Node)}


@pytest.mark.parametrize("state", [NodeState.JOINING, SUSPECT, LOST])
async def test_a_heartbeat_makes_a_node_ready(work: UnitOfWork, state: NodeState) -> None:
    node_id = await add_node(work, state=state)
    bus = MemoryBus()
    listener = HeartbeatListener(bus, work)
    await listener.start()
    try:
        await eventually(lambda: beat(bus, work, node_id))
    finally:
        await listener.stop()
    (fact,) = await events_of(work.database, type_=NodeReady.event_type)
    assert fact.aggregate_id == node_id


async def beat(bus: MemoryBus, work: UnitOfWork, node_id: str) -> bool:
    """Send one; whether the node is ready by now."""
    said = Heartbeat(node_id=node_id, instances=0).model_dump_json().encode()
    await bus.signal(subjects.heartbeat(node_id), said)
    node = await fetch(work, Node, node_id)
    return node.state is READY


async def test_heartbeats_that_mean_nothing_do_not_stop_the_listener(work: UnitOfWork) -> None:
    gone = await add_node(work, "gone", state=NodeState.GONE)
    node_id = await add_node(work, "here", state=LOST)
    bus = MemoryBus()
    listener = HeartbeatListener(bus, work)
    await listener.start()
    try:
        await asyncio.sleep(0)
        for data in (
            b"",
            b"\xff\x00",
            b'{"node_id": 1}',
            b'{"node_id": "not-an-id", "instances": 1}',
            Heartbeat(node_id=ids.new(ids.Prefix.NODE), instances=0).model_dump_json().encode(),
            Heartbeat(node_id=gone, instances=0).model_dump_json().encode(),
        ):
            await bus.signal(subjects.heartbeat("n"), data)
        await eventually(lambda: beat(bus, work, node_id))
        assert await listener.ready() is None
    finally:
        await listener.stop()
    assert await states(work) == {"gone": NodeState.GONE, "here": READY}


async def test_a_silent_node_is_suspect_then_lost_and_a_heard_one_is_not(
    work: UnitOfWork, deaf_bus: DeafBus
) -> None:
    heard = await add_node(work, "heard")
    await add_node(work, "silent")
    with clock.using(clock.FakeClock(clock.now())) as time:
        watch = Watch(work, deaf_bus, time)
        await watch.look(15, heard=[heard])
        assert await states(work) == {"heard": READY, "silent": READY}
        await watch.look(5, heard=[heard])
        assert await states(work) == {"heard": READY, "silent": SUSPECT}
        await watch.look(20, heard=[heard])
        assert await states(work) == {"heard": READY, "silent": SUSPECT}
        await watch.look(5, heard=[heard])
    assert await states(work) == {"heard": READY, "silent": LOST}
    assert len(await events_of(work.database, type_=NodeSuspect.event_type)) == 1
    assert len(await events_of(work.database, type_=NodeLost.event_type)) == 1


async def test_when_all_nodes_fall_silent_at_once_nothing_is_evicted(
    work: UnitOfWork, site: Site, conveyor: Conveyor, deaf_bus: DeafBus
) -> None:
    names = ["a", "b", "c"]
    nodes = [await add_node(work, name) for name in names]
    version = await add_version(work, site)
    await serve(conveyor, work, version)
    with clock.using(clock.FakeClock(clock.now())) as time:
        watch = Watch(work, deaf_bus, time)
        await watch.look(600)
        assert set((await states(work)).values()) == {SUSPECT}
        assert await events_of(work.database, type_=InstanceLost.event_type) == []
        await conveyor.settle()
        assert await serving(work) == 1
        await watch.look(STEP_SECONDS, heard=nodes[:2])  # one of three is silent: it is the node
    assert sorted((await states(work)).items()) == [("a", SUSPECT), ("b", SUSPECT), ("c", LOST)]


@pytest.mark.parametrize("away", ["the broker", "the reconciler"])
async def test_silence_while_nobody_could_hear_does_not_count(
    work: UnitOfWork, deaf_bus: DeafBus, away: str
) -> None:
    await add_node(work)
    with clock.using(clock.FakeClock(clock.now())) as time:
        watch = Watch(work, deaf_bus, time)
        await watch.look(10)
        if away == "the broker":
            deaf_bus.away = True
            await watch.look(600)
            deaf_bus.away = False
        else:
            time.advance(600)
        await watch.look(15)
        assert await states(work) == {"one": READY}
        await watch.look(5)
    assert await states(work) == {"one": SUSPECT}


async def test_a_restarted_reconciler_waits_before_it_judges(
    work: UnitOfWork, deaf_bus: DeafBus
) -> None:
    await add_node(work)
    with clock.using(clock.FakeClock(clock.now())) as time:
        time.advance(3600)
        await Watch(work, deaf_bus, time).look(15)
    assert await states(work) == {"one": READY}


async def test_the_instances_of_a_lost_node_are_replaced_elsewhere(
    work: UnitOfWork, site: Site, conveyor: Conveyor, deaf_bus: DeafBus
) -> None:
    await replicas(work, site, 2)
    dying, living = await add_node(work, "dying"), await add_node(work, "living")
    version = await add_version(work, site)
    await serve(conveyor, work, version)
    assert sorted(map(str, (await live(work, version)).values())) == sorted([dying, living])
    with clock.using(clock.FakeClock(clock.now())) as time:
        await Watch(work, deaf_bus, time).look(45, heard=[living])
    await conveyor.settle()
    assert await live(work, version) == {0: living, 1: living}
    assert await serving(work) == 1  # what was lost has left; its successor is not ready yet
    await report_all(conveyor, work, version, InstanceState.READY)
    assert await serving(work) == 2
    assert await unfinished(work.database) == []
    deployment = await fetch(work, Deployment, version.deployment.id)
    assert deployment.state is DeploymentState.ACTIVE
    lost = await events_of(work.database, type_="instance.lost")
    created = await events_of(work.database, type_="instance.created")
    timelines = {row.correlation_id for row in (*lost, created[-1])}
    assert timelines == {deployment.correlation_id}


async def test_what_is_placed_on_a_node_while_it_is_given_up_is_evicted_too(
    work: UnitOfWork, site: Site, conveyor: Conveyor, deaf_bus: DeafBus
) -> None:
    node_id = await add_node(work, state=LOST)
    version = await add_version(work, site)
    await finish_build(work, version)
    await conveyor.settle()
    (instance,) = await every(work, Instance)
    async with changed(work, Instance, instance.id) as row:
        row.node_id = node_id
    await NodeReconciler(deaf_bus, work).round()
    await conveyor.settle()
    assert await live(work, version) == {0: None}


async def test_what_a_deployment_that_ended_has_lost_is_not_replaced(
    work: UnitOfWork, site: Site, conveyor: Conveyor, deaf_bus: DeafBus
) -> None:
    await add_node(work, "dying")
    old = await add_version(work, site, 1)
    await serve(conveyor, work, old)
    living = await add_node(work, "living")
    new = await add_version(work, site, 2)
    await serve(conveyor, work, new)
    with clock.using(clock.FakeClock(clock.now())) as time:
        await Watch(work, deaf_bus, time).look(45, heard=[living])
    await conveyor.settle()
    (drained,) = await every(work, Instance, deployment_id=old.deployment.id)
    assert drained.state is InstanceState.LOST
    assert await live(work, new) == {0: living}
