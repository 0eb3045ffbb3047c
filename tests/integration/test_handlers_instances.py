"""What nodes report about instances, and the routes that follow from it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from consumers.outcomes import Done, Drop
from db.models import Environment, Instance, Node
from db.queries.instances import instance_emit
from db.queries.routes import routes_all
from db.session import UnitOfWork
from events.deployments import DeploymentActivated
from events.instances import InstanceLost, InstanceReady
from events.routes import Route, RouteChanged, Target
from events.states import InstanceState, NodeState
from tests.support.digest import digest, unfinished
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
    report,
    serve,
)
from zeitwork import ids

READY, STARTING = InstanceState.READY, InstanceState.STARTING


@pytest.fixture
async def site(work: UnitOfWork) -> Site:
    await add_node(work)
    return await add_site(work)


@pytest.fixture
def conveyor(work: UnitOfWork) -> Conveyor:
    return Conveyor(work)


@pytest.fixture
async def served(work: UnitOfWork, site: Site, conveyor: Conveyor) -> Version:
    version = await add_version(work, site)
    await serve(conveyor, work, version)
    return version


async def only_instance(work: UnitOfWork, **where: Any) -> Instance:
    (instance,) = await every(work, Instance, **where)
    assert isinstance(instance, Instance)
    return instance


async def route_of(work: UnitOfWork, site: Site) -> Route:
    async with work.database.read() as session:
        routes = {route.host: route for route in await routes_all(session)}
    return routes[site.environment.host]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node_id": "nod_00000000000000000000000000"}, "the instance belongs to another node"),
        ({"generation": 0}, "the report is about another generation"),
        ({"generation": 2}, "the report is about another generation"),
        ({"sequence": 0}, "a newer report was taken before"),
        ({"state": InstanceState.PENDING}, "a node cannot report pending"),
        ({"state": InstanceState.LOST}, "a node cannot report lost"),
        ({"state": READY, "port": 70_000}, "a ready instance needs an address"),
    ],
)
async def test_a_report_that_may_not_count_changes_nothing(
    work: UnitOfWork, served: Version, conveyor: Conveyor, changes: dict[str, Any], reason: str
) -> None:
    instance = await only_instance(work)
    before, stored = await digest(work.database), len(await events_of(work.database))
    fields = {"state": InstanceState.FAILED, "host": "10.9.9.9", **changes}
    said = report(instance, fields.pop("state"), **fields)
    assert await conveyor.deliver(said) == [Drop(reason)]
    assert await digest(work.database) == before
    assert len(await events_of(work.database)) == stored


async def test_a_report_about_an_unknown_instance_is_dropped(
    work: UnitOfWork, served: Version, conveyor: Conveyor
) -> None:
    instance = await only_instance(work)
    said = report(instance, READY, instance_id=ids.new(ids.Prefix.INSTANCE))
    assert await conveyor.deliver(said) == [Drop("unknown instance")]


async def test_an_older_report_that_comes_late_is_dropped(
    work: UnitOfWork, served: Version, conveyor: Conveyor
) -> None:
    instance = await only_instance(work)
    early, late = report(instance, STARTING), report(instance, InstanceState.FAILED)
    assert await conveyor.deliver(late) == [Done()]
    assert await conveyor.deliver(early) == [Drop("a newer report was taken before")]
    assert (await fetch(work, Instance, instance.id)).state is InstanceState.FAILED


async def test_the_same_word_again_only_counts_the_sequence(
    work: UnitOfWork, served: Version, conveyor: Conveyor
) -> None:
    instance = await only_instance(work)
    stored = len(await events_of(work.database))
    said = report(instance, READY, host=instance.host, port=instance.port)
    assert await conveyor.deliver(said) == [Done()]
    again = await only_instance(work)
    assert again.report_sequence > instance.report_sequence
    assert again.ready_at == instance.ready_at
    assert len(await events_of(work.database)) == stored


async def test_what_a_node_says_about_a_failure_is_cut_to_size(
    work: UnitOfWork, served: Version, conveyor: Conveyor
) -> None:
    instance = await only_instance(work)
    said = report(
        instance, InstanceState.FAILED, code="c" * 900, detail="\x00" + "d" * 900_000, exit_code=3
    )
    assert await conveyor.deliver(said) == [Done()]
    failed = await only_instance(work)
    assert failed.error_code == "c" * 64
    assert failed.error_detail == "\N{REPLACEMENT CHARACTER}" + "d" * 3999
    assert failed.exit_code == 3
    assert failed.stopped_at is not None


async def test_an_instance_that_does_not_answer_leaves_the_route_until_it_does(
    work: UnitOfWork, site: Site, served: Version, conveyor: Conveyor
) -> None:
    before = await route_of(work, site)
    await conveyor.deliver(report(await only_instance(work), STARTING))
    await conveyor.settle()
    without = await route_of(work, site)
    assert (without.targets, without.version) == ((), before.version + 1)
    assert without.deployment_id == served.deployment.id  # known, but 503
    await conveyor.deliver(report(await only_instance(work), READY, host="10.0.0.2", port=4002))
    await conveyor.settle()
    after = await route_of(work, site)
    assert [(target.host, target.port) for target in after.targets] == [("10.0.0.2", 4002)]
    assert after.version == without.version + 1


async def test_a_ready_instance_that_moved_takes_its_route_along(
    work: UnitOfWork, site: Site, served: Version, conveyor: Conveyor
) -> None:
    instance = await only_instance(work)
    await conveyor.deliver(report(instance, READY, host="10.0.0.3", port=4003))
    await conveyor.settle()
    moved = Target(instance_id=instance.id, host="10.0.0.3", port=4003)
    assert (await route_of(work, site)).targets == (moved,)


async def test_one_of_two_that_stops_leaves_the_other_serving(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    async with changed(work, Environment, site.environment.id) as environment:
        environment.replicas = 2
    await serve(conveyor, work, await add_version(work, site))
    first, second = await every(work, Instance)
    await conveyor.deliver(report(first, InstanceState.STOPPED))
    await conveyor.settle()
    targets = (await route_of(work, site)).targets
    assert [target.instance_id for target in targets] == [second.id]
    assert await unfinished(work.database) == []


async def test_routes_stay_within_their_project(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    other = await add_site(work)
    mine, theirs = await add_version(work, site), await add_version(work, other)
    await serve(conveyor, work, mine)
    assert (await route_of(work, other)).targets == ()
    await serve(conveyor, work, theirs)
    for one, version in ((site, mine), (other, theirs)):
        instance = await only_instance(work, deployment_id=version.deployment.id)
        targets = (await route_of(work, one)).targets
        assert [target.instance_id for target in targets] == [instance.id]
    assert await unfinished(work.database) == []


async def test_looking_again_announces_no_route_that_has_not_changed(
    work: UnitOfWork, site: Site, served: Version, conveyor: Conveyor
) -> None:
    before = await route_of(work, site)
    instance = await only_instance(work)
    about = {"deployment_id": served.deployment.id, "environment_id": site.environment.id}
    for said in (
        DeploymentActivated(**about, number=1),
        InstanceReady(**about, instance_id=instance.id),
    ):
        await conveyor.deliver(envelope(said, subject=instance.id))
    assert await conveyor.settle() == []
    assert await route_of(work, site) == before


async def test_looks_at_one_environment_at_once_change_its_route_once(
    work: UnitOfWork, site: Site, served: Version, conveyor: Conveyor
) -> None:
    before = await route_of(work, site)
    instance = await only_instance(work)
    async with changed(work, Instance, instance.id) as row:
        row.port = 4999
    about = {"deployment_id": served.deployment.id, "environment_id": site.environment.id}
    said = DeploymentActivated(**about, number=1)
    await asyncio.gather(
        *(conveyor.deliver(envelope(said, subject=served.deployment.id)) for _ in range(8))
    )
    (fact,) = [one for one in await conveyor.settle() if isinstance(one.data, RouteChanged)]
    assert fact.data.route.version == before.version + 1  # type: ignore[attr-defined]
    assert await route_of(work, site) == fact.data.route  # type: ignore[attr-defined]


@pytest.mark.parametrize("state", [InstanceState.LOST, InstanceState.FAILED])
async def test_a_node_that_comes_back_may_say_that_it_stopped_what_was_given_up(
    work: UnitOfWork, served: Version, conveyor: Conveyor, state: InstanceState
) -> None:
    instance = await only_instance(work)
    async with changed(work, Instance, instance.id) as row:
        row.state = state
    assert await conveyor.deliver(report(instance, READY)) == [
        Drop(f"{state} does not move to ready")
    ]
    assert await conveyor.deliver(report(instance, InstanceState.STOPPED)) == [Done()]
    assert (await only_instance(work)).state is InstanceState.STOPPED


async def test_an_instance_without_a_node_is_stopped_at_once_when_its_deployment_ends(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    """Nobody would ever report its end."""
    async with changed(work, Environment, site.environment.id) as environment:
        environment.replicas = 2
    version = await add_version(work, site)
    await finish_build(work, version)
    await conveyor.settle()
    for node in await every(work, Node):
        async with changed(work, Node, node.id) as row:
            row.state = NodeState.SUSPECT
    gone, failing = await every(work, Instance)
    await lose(work, gone)
    await conveyor.settle()
    unplaced = await only_instance(work, node_id=None)
    assert (unplaced.slot, unplaced.state) == (gone.slot, InstanceState.PENDING)
    await conveyor.deliver(report(failing, InstanceState.FAILED))
    await conveyor.settle()
    ended = await only_instance(work, node_id=None)
    assert ended.state is InstanceState.STOPPED
    assert ended.stopped_at is not None


async def lose(work: UnitOfWork, instance: Instance) -> None:
    """Give an instance up, as the reconciler of nodes does."""
    async with work.transaction() as tx:
        row = await tx.session.get_one(Instance, instance.id)
        row.state = InstanceState.LOST
        fact = InstanceLost(
            instance_id=row.id,
            deployment_id=row.deployment_id,
            environment_id=row.environment_id,
        )
        instance_emit(tx, row, fact)
