"""Deployments reach traffic, or end without touching it; the newest commit wins in any order."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from consumers.deployments.reconciler import DeploymentReconciler
from db.models import Build, Deployment, Environment, Instance
from db.queries.routes import routes_all
from db.session import UnitOfWork
from events.builds import BuildFailed, BuildStarted
from events.deployments import DeploymentFailed, NewerCommit
from events.instances import InstanceDraining
from events.routes import Route, RouteChanged
from events.states import BuildState, DeploymentState, InstanceState
from tests.support.digest import broken_rules, unfinished
from tests.support.factories import (
    Conveyor,
    MovableClock,
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
    report,
    report_all,
    serve,
)
from zeitwork import clock

ACTIVE, SUPERSEDED = DeploymentState.ACTIVE, DeploymentState.SUPERSEDED


@pytest.fixture
async def site(work: UnitOfWork) -> Site:
    await add_node(work)
    return await add_site(work, newer_commit=NewerCommit.ALL)


@pytest.fixture
def conveyor(work: UnitOfWork) -> Conveyor:
    return Conveyor(work)


async def state_of(work: UnitOfWork, version: Version) -> DeploymentState:
    state: DeploymentState = (await fetch(work, Deployment, version.deployment.id)).state
    return state


async def route_of(work: UnitOfWork, site: Site) -> Route:
    async with work.database.read() as session:
        routes = {route.host: route for route in await routes_all(session)}
    return routes[site.environment.host]


async def serves(work: UnitOfWork, site: Site) -> str | None:
    """The deployment that visitors of the site reach, by its ready instances."""
    route = await route_of(work, site)
    assert await broken_rules(work.database) == []
    assert await unfinished(work.database) == []
    return route.deployment_id if route.targets else None


async def test_from_build_to_traffic(work: UnitOfWork, site: Site, conveyor: Conveyor) -> None:
    version = await add_version(work, site)
    said = BuildStarted(build_id=version.build.id, deployment_id=version.deployment.id)
    await conveyor.deliver(envelope(said, subject=version.build.id))
    assert await state_of(work, version) is DeploymentState.BUILDING
    await finish_build(work, version)
    await conveyor.settle()
    assert await state_of(work, version) is DeploymentState.DEPLOYING
    assert await serves(work, site) is None
    await report_all(conveyor, work, version, InstanceState.STARTING)
    assert await state_of(work, version) is DeploymentState.DEPLOYING
    await report_all(conveyor, work, version, InstanceState.READY)
    assert await state_of(work, version) is ACTIVE
    assert await serves(work, site) == version.deployment.id


async def test_a_late_start_of_the_build_moves_nothing_back(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    version = await add_version(work, site)
    await serve(conveyor, work, version)
    said = BuildStarted(build_id=version.build.id, deployment_id=version.deployment.id)
    await conveyor.deliver(envelope(said, subject=version.build.id))
    assert await state_of(work, version) is ACTIVE


async def test_all_replicas_are_awaited(work: UnitOfWork, site: Site, conveyor: Conveyor) -> None:
    async with changed(work, Environment, site.environment.id) as environment:
        environment.replicas = 3
    version = await add_version(work, site)
    await finish_build(work, version)
    await conveyor.settle()
    for instance in await every(work, Instance):
        assert await state_of(work, version) is DeploymentState.DEPLOYING
        await conveyor.deliver(report(instance, InstanceState.READY))
        await conveyor.settle()
    assert await state_of(work, version) is ACTIVE
    assert len((await route_of(work, site)).targets) == 3
    assert await serves(work, site) == version.deployment.id


async def test_a_newer_version_takes_over_and_the_older_drains_after_the_route_left(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    old, new = await add_version(work, site, 1), await add_version(work, site, 2)
    await serve(conveyor, work, old)
    await serve(conveyor, work, new)
    assert await state_of(work, old) is SUPERSEDED
    assert await serves(work, site) == new.deployment.id
    (drained,) = await every(work, Instance, deployment_id=old.deployment.id)
    assert drained.state is InstanceState.DRAINING
    assert drained.stop_after is not None
    log = await events_of(work.database)
    (leaving,) = [row.id for row in log if row.type == InstanceDraining.event_type]
    left = [row.id for row in log if row.type == RouteChanged.event_type]
    assert max(left) < leaving  # the same transaction, and in this order on the bus
    await conveyor.deliver(report(drained, InstanceState.STOPPED))
    await conveyor.settle()
    assert await serves(work, site) == new.deployment.id


async def test_an_older_build_that_ends_late_never_takes_the_routes(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    old, new = await add_version(work, site, 1), await add_version(work, site, 2)
    await serve(conveyor, work, new)
    assert await state_of(work, old) is SUPERSEDED
    assert (await fetch(work, Build, old.build.id)).state is BuildState.CANCELLED
    await serve(conveyor, work, old)
    assert await state_of(work, old) is SUPERSEDED
    assert await every(work, Instance, deployment_id=old.deployment.id) == []
    assert await serves(work, site) == new.deployment.id


@pytest.mark.parametrize("order", list(itertools.permutations((0, 1))))
@pytest.mark.parametrize("built", list(itertools.permutations((0, 1))))
async def test_whichever_build_and_instance_comes_first_the_newer_serves_in_the_end(
    work: UnitOfWork,
    site: Site,
    conveyor: Conveyor,
    built: tuple[int, int],
    order: tuple[int, int],
) -> None:
    versions = [await add_version(work, site, 1), await add_version(work, site, 2)]
    for index in built:
        await finish_build(work, versions[index])
        await conveyor.settle()
    for index in order:
        await report_all(conveyor, work, versions[index], InstanceState.READY)
        assert await broken_rules(work.database) == []
    assert [await state_of(work, version) for version in versions] == [SUPERSEDED, ACTIVE]
    assert await serves(work, site) == versions[1].deployment.id
    for instance in await every(work, Instance, deployment_id=versions[0].deployment.id):
        assert instance.state is InstanceState.DRAINING


async def test_a_failed_instance_fails_its_deployment_and_the_one_before_serves_on(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    async with changed(work, Environment, site.environment.id) as environment:
        environment.replicas = 2
    good, bad = await add_version(work, site, 1), await add_version(work, site, 2)
    await serve(conveyor, work, good)
    before = await route_of(work, site)
    await finish_build(work, bad)
    await conveyor.settle()
    first, second = await every(work, Instance, deployment_id=bad.deployment.id)
    await conveyor.deliver(
        report(first, InstanceState.FAILED, code="start_command_exited", detail="no such file")
    )
    await conveyor.settle()
    failed = await fetch(work, Deployment, bad.deployment.id)
    assert (failed.state, failed.error_code) == (DeploymentState.FAILED, "start_command_exited")
    assert (failed.error_detail, failed.deadline_at) == ("no such file", None)
    assert (await fetch(work, Instance, second.id)).state is InstanceState.DRAINING
    assert await state_of(work, good) is ACTIVE
    assert await route_of(work, site) == before
    assert await serves(work, site) == good.deployment.id


async def test_a_failed_build_fails_its_deployment_and_the_one_before_serves_on(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    good, bad = await add_version(work, site, 1), await add_version(work, site, 2)
    await serve(conveyor, work, good)
    said = BuildFailed(
        build_id=bad.build.id,
        deployment_id=bad.deployment.id,
        code="nothing_detected",
        detail="no builder knows this",
    )
    await conveyor.deliver(envelope(said, subject=bad.build.id))
    (fact,) = [one for one in await conveyor.settle() if isinstance(one.data, DeploymentFailed)]
    assert fact.data.model_dump().items() >= {"code": said.code, "detail": said.detail}.items()
    assert await state_of(work, bad) is DeploymentState.FAILED
    assert await serves(work, site) == good.deployment.id


async def test_an_image_that_no_node_runs_fails_its_deployment_and_the_one_before_serves_on(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    good, image, later = [await add_version(work, site, number) for number in (1, 2, 3)]
    await serve(conveyor, work, good)
    await finish_build(work, image, runtime="docker")
    await conveyor.settle()
    failed = await fetch(work, Deployment, image.deployment.id)
    assert (failed.state, failed.error_code) == (DeploymentState.FAILED, "runtime_missing")
    assert "no node runs images" in str(failed.error_detail)
    assert await serves(work, site) == good.deployment.id

    node_id = await add_node(work, "with-docker", runtime="docker")
    await finish_build(work, later, runtime="docker")
    await conveyor.settle()
    assert await state_of(work, later) is DeploymentState.DEPLOYING
    assert await live(work, later) == {0: node_id}


async def test_a_newer_version_that_fails_leaves_an_older_one_to_come(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    old, new = await add_version(work, site, 1), await add_version(work, site, 2)
    await finish_build(work, old)
    await finish_build(work, new)
    await conveyor.settle()
    await report_all(conveyor, work, new, InstanceState.FAILED, code="x", detail="y")
    await report_all(conveyor, work, old, InstanceState.READY)
    assert await state_of(work, old) is ACTIVE
    assert await serves(work, site) == old.deployment.id


@pytest.mark.parametrize(
    ("state", "seconds"),
    [
        (DeploymentState.QUEUED, 2 * 3600),
        (DeploymentState.BUILDING, 30 * 60),
        (DeploymentState.DEPLOYING, 5 * 60),
    ],
)
async def test_the_reconciler_ends_what_lasts_too_long(
    work: UnitOfWork, site: Site, conveyor: Conveyor, state: DeploymentState, seconds: int
) -> None:
    good, stuck = await add_version(work, site, 1), await add_version(work, site, 2)
    await serve(conveyor, work, good)
    if state is DeploymentState.BUILDING:
        said = BuildStarted(build_id=stuck.build.id, deployment_id=stuck.deployment.id)
        await conveyor.deliver(envelope(said, subject=stuck.build.id))
    elif state is DeploymentState.DEPLOYING:
        await finish_build(work, stuck)
    await conveyor.settle()
    assert await state_of(work, stuck) is state
    with clock.using(MovableClock()) as time:
        time.advance(seconds - 60)
        await DeploymentReconciler(work).round()
        assert await state_of(work, stuck) is state
        time.advance(61)
        await DeploymentReconciler(work).round()
        await conveyor.settle()
    ended = await fetch(work, Deployment, stuck.deployment.id)
    assert (ended.state, ended.error_code) == (DeploymentState.FAILED, "deadline_exceeded")
    build = await fetch(work, Build, stuck.build.id)
    finished = state is DeploymentState.DEPLOYING
    assert build.state is (BuildState.SUCCEEDED if finished else BuildState.CANCELLED)
    failures = await events_of(work.database, type_=DeploymentFailed.event_type)
    assert [row.correlation_id for row in failures] == [ended.correlation_id]
    for instance in await every(work, Instance, deployment_id=stuck.deployment.id):
        assert instance.state is InstanceState.DRAINING
    assert await serves(work, site) == good.deployment.id


async def test_a_build_that_its_builder_holds_may_last_as_long_as_the_builder_lets_it(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    version = await add_version(work, site)
    said = BuildStarted(build_id=version.build.id, deployment_id=version.deployment.id)
    await conveyor.deliver(envelope(said, subject=version.build.id))
    await conveyor.settle()
    with clock.using(MovableClock()) as time:
        time.advance(3600)
        async with work.transaction() as tx:
            build = await tx.session.get_one(Build, version.build.id)
            build.state, build.lease_until = BuildState.RUNNING, clock.now() + timedelta(seconds=40)
        await DeploymentReconciler(work).round()
        assert await state_of(work, version) is DeploymentState.BUILDING
        time.advance(41)
        await DeploymentReconciler(work).round()
    assert await state_of(work, version) is DeploymentState.FAILED


async def test_a_deployment_that_ended_cannot_be_overdue(
    work: UnitOfWork, site: Site, conveyor: Conveyor
) -> None:
    old, new = await add_version(work, site, 1), await add_version(work, site, 2)
    await serve(conveyor, work, old)
    await serve(conveyor, work, new)
    with clock.using(MovableClock()) as time:
        time.advance(10 * 24 * 3600)
        await DeploymentReconciler(work).round()
    assert [await state_of(work, each) for each in (old, new)] == [SUPERSEDED, ACTIVE]
