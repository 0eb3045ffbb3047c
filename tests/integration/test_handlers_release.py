"""A release command comes before every instance, once; however it ends, what serves goes on."""

from __future__ import annotations

import pytest

from consumers.deployments.reconciler import DeploymentReconciler
from consumers.nodes.heartbeats import NodeReconciler
from consumers.outcomes import Drop
from consumers.scheduling.handler import PlacementReconciler
from db.models import Artifact, Deployment, Instance, Node
from db.queries.deployments import deployment_cancel
from db.queries.instances import assignments_of_node, release_create
from db.queries.releases import deployments_releasing
from db.queries.routes import routes_all
from db.session import UnitOfWork
from events.deployments import NewerCommit
from events.instances import InstanceKind
from events.memory import MemoryBus
from events.states import DeploymentState, InstanceState, NodeState
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
    every,
    fetch,
    finish_build,
    live,
    replicas,
    report,
    report_all,
    serve,
)
from zeitwork import clock
from zeitwork.errors import Conflict

WEB, RELEASE = InstanceKind.WEB, InstanceKind.RELEASE
ACTIVE, DEPLOYING = DeploymentState.ACTIVE, DeploymentState.DEPLOYING
STARTING, STOPPED, FAILED = InstanceState.STARTING, InstanceState.STOPPED, InstanceState.FAILED
COMMAND = "python manage.py migrate"
LIMIT_SECONDS = 1200


class Stage:
    """One site on one node, whose versions have a release command."""

    def __init__(self, work: UnitOfWork, site: Site) -> None:
        self.work = work
        self.site = site
        self.conveyor = Conveyor(work)

    async def build(self, version: Version) -> Instance:
        """Finish the build; the run of the release command that follows."""
        declared = {"release_timeout_seconds": LIMIT_SECONDS}
        await finish_build(self.work, version, release=COMMAND, declared=declared)
        await self.conveyor.settle()
        (run,) = await self.instances(version, RELEASE)
        return run

    async def version(self, number: int) -> Version:
        version = await add_version(self.work, self.site, number)
        await self.conveyor.settle()
        return version

    async def ends(self, run: Instance, state: InstanceState = STOPPED, **said: object) -> None:
        """The node's word on how it ended; well, unless told otherwise."""
        if state is STOPPED:
            said = {"exit_code": 0, **said}
        await self.conveyor.deliver(report(run, state, **said))
        await self.conveyor.settle()

    async def instances(self, version: Version, kind: InstanceKind) -> list[Instance]:
        id_ = version.deployment.id
        return [*await every(self.work, Instance, deployment_id=id_, kind=kind)]

    async def deployment(self, version: Version) -> Deployment:
        found: Deployment = await fetch(self.work, Deployment, version.deployment.id)
        return found

    async def releasing(self, version: Version) -> bool:
        async with self.work.database.read() as session:
            return bool(await deployments_releasing(session, [version.deployment.id]))

    async def serves(self) -> str | None:
        """The deployment that visitors reach."""
        assert await broken_rules(self.work.database) == []
        assert await unfinished(self.work.database) == []
        async with self.work.database.read() as session:
            (route,) = await routes_all(session)
        return route.deployment_id if route.targets else None


@pytest.fixture
async def stage(work: UnitOfWork) -> Stage:
    await add_node(work)
    return Stage(work, await add_site(work))


async def test_it_runs_before_any_instance_and_is_never_routed_to(stage: Stage) -> None:
    await replicas(stage.work, stage.site, 2)
    version = await stage.version(1)
    run = await stage.build(version)
    assert (run.command, run.limit_seconds) == (COMMAND, LIMIT_SECONDS)
    assert await stage.instances(version, WEB) == []
    assert await stage.releasing(version)
    async with stage.work.database.read() as session:
        (assignment,) = await assignments_of_node(session, str(run.node_id))
    assert assignment.instance.id == run.id

    await stage.conveyor.deliver(report(run, STARTING))
    (said,) = [
        outcome
        for outcome in await stage.conveyor.deliver(report(run, InstanceState.READY))
        if isinstance(outcome, Drop)
    ]
    assert said.reason == "only a web instance can be ready"
    assert (await stage.deployment(version)).state is DEPLOYING
    await stage.ends(run)
    assert len(await stage.instances(version, WEB)) == 2
    assert not await stage.releasing(version)
    assert await stage.serves() is None
    await report_all(stage.conveyor, stage.work, version, InstanceState.READY)
    assert (await stage.deployment(version)).state is ACTIVE
    assert await stage.serves() == version.deployment.id
    assert [each.state for each in await stage.instances(version, RELEASE)] == [STOPPED]


async def test_a_failure_leaves_the_version_before_serving(stage: Stage) -> None:
    good = await stage.version(1)
    await serve(stage.conveyor, stage.work, good)
    bad = await stage.version(2)
    run = await stage.build(bad)
    detail = "It ended with exit code 1.\nIts last lines:\nno such table\nDeploy again."
    await stage.ends(run, FAILED, code="release_failed", detail=detail, exit_code=1)
    failed = await stage.deployment(bad)
    assert (failed.state, failed.error_code) == (DeploymentState.FAILED, "release_failed")
    assert failed.error_detail == detail
    assert await stage.instances(bad, WEB) == []
    assert await stage.serves() == good.deployment.id
    # The node that lets go of it afterwards changes nothing, however late the failure is heard.
    await stage.ends(run, exit_code=1)
    assert (await stage.deployment(bad)).error_code == "release_failed"


async def test_an_end_that_is_taken_before_the_failure_is_heard_is_a_failure(stage: Stage) -> None:
    version = await stage.version(1)
    run = await stage.build(version)
    reports = Conveyor(stage.work, groups=("instances",))
    await reports.deliver(report(run, FAILED, code="release_timed_out", detail="too long"))
    await reports.deliver(report(run, STOPPED))
    await stage.conveyor.settle()
    failed = await stage.deployment(version)
    assert (failed.state, failed.error_code) == (DeploymentState.FAILED, "release_timed_out")
    assert await stage.instances(version, WEB) == []


async def test_a_node_that_is_lost_with_it_fails_the_deployment(stage: Stage) -> None:
    good = await stage.version(1)
    await serve(stage.conveyor, stage.work, good)
    version = await stage.version(2)
    run = await stage.build(version)
    await stage.conveyor.deliver(report(run, STARTING))
    await add_node(stage.work, "two")
    async with changed(stage.work, Node, str(run.node_id)) as node:
        node.state = NodeState.LOST
    await NodeReconciler(MemoryBus(), stage.work).round()
    await Conveyor(stage.work, groups=("scheduling",)).settle()  # it hears of the loss first
    assert await stage.instances(version, WEB) == []
    await stage.conveyor.settle()
    failed = await stage.deployment(version)
    assert (failed.state, failed.error_code) == (DeploymentState.FAILED, "release_lost")
    assert "not known whether it finished" in (failed.error_detail or "")
    assert [each.id for each in await stage.instances(version, RELEASE)] == [run.id]
    assert await stage.instances(version, WEB) == []


async def test_a_cancelled_deployment_stops_it_at_once_and_starts_nothing(stage: Stage) -> None:
    version = await stage.version(1)
    run = await stage.build(version)
    await stage.conveyor.deliver(report(run, STARTING))
    async with stage.work.transaction() as tx:
        assert await deployment_cancel(tx, version.deployment.id, code="cancelled", detail="me")
    await stage.conveyor.settle()
    draining = await fetch(stage.work, Instance, run.id)
    assert draining.state is InstanceState.DRAINING
    assert draining.stop_after <= clock.now()
    await stage.ends(run)
    assert (await stage.deployment(version)).state is DeploymentState.CANCELLED
    assert await stage.instances(version, WEB) == []


async def test_a_newer_commit_stops_it_and_runs_its_own_after_it(stage: Stage) -> None:
    old = await stage.version(1)
    run = await stage.build(old)
    await stage.conveyor.deliver(report(run, STARTING))
    new = await stage.version(2)
    ended = await stage.deployment(old)
    assert (ended.state, ended.error_code) == (DeploymentState.CANCELLED, "newer_commit")
    await finish_build(stage.work, new, release=COMMAND)
    await stage.conveyor.settle()
    assert await stage.instances(new, RELEASE) == []  # two at once could spoil each other's work
    assert "another deployment" in ((await stage.deployment(new)).waiting_reason or "")
    await stage.ends(run)
    (next_run,) = await stage.instances(new, RELEASE)
    assert (await stage.deployment(new)).waiting_reason is None
    await stage.ends(next_run)
    await report_all(stage.conveyor, stage.work, new, InstanceState.READY)
    assert await stage.serves() == new.deployment.id


async def test_deployments_that_all_run_take_turns_newest_first(stage: Stage) -> None:
    stage.site = await add_site(stage.work, newer_commit=NewerCommit.ALL)
    versions = [await stage.version(number) for number in (1, 2, 3)]
    first = await stage.build(versions[0])
    for waiting in versions[1:]:
        await finish_build(stage.work, waiting, release=COMMAND)
    await stage.conveyor.settle()
    await DeploymentReconciler(stage.work).round()
    assert len(await every(stage.work, Instance, kind=RELEASE)) == 1
    await stage.ends(first, FAILED, code="release_failed", detail="x")
    assert await stage.instances(versions[1], RELEASE) == []
    (newest,) = await stage.instances(versions[2], RELEASE)
    await stage.ends(newest)
    assert len(await stage.instances(versions[1], RELEASE)) == 1
    assert len(await stage.instances(versions[2], WEB)) == 1


async def test_an_unheard_end_is_found_by_the_reconciler(stage: Stage) -> None:
    version = await stage.version(1)
    run = await stage.build(version)
    reconciler = DeploymentReconciler(stage.work)
    await reconciler.round()
    assert await stage.instances(version, WEB) == []
    await Conveyor(stage.work, groups=("instances",)).deliver(report(run, STOPPED, exit_code=0))
    await reconciler.round()
    await reconciler.round()
    assert len(await stage.instances(version, WEB)) == 1
    await stage.conveyor.settle()
    assert len(await stage.instances(version, WEB)) == 1


async def test_it_has_its_own_time_on_top_of_that_of_the_instances(stage: Stage) -> None:
    version = await stage.version(1)
    await stage.build(version)
    with clock.using(MovableClock()) as time:
        time.advance(LIMIT_SECONDS + 4 * 60)
        await DeploymentReconciler(stage.work).round()
        assert (await stage.deployment(version)).state is DEPLOYING
        time.advance(2 * 60)
        await DeploymentReconciler(stage.work).round()
        await stage.conveyor.settle()
    overdue = await stage.deployment(version)
    assert (overdue.state, overdue.error_code) == (DeploymentState.FAILED, "deadline_exceeded")
    (run,) = await stage.instances(version, RELEASE)
    assert run.state is InstanceState.DRAINING


async def test_one_that_waited_for_a_node_has_all_its_time(work: UnitOfWork) -> None:
    stage = Stage(work, await add_site(work))
    version = await stage.version(1)
    run = await stage.build(version)
    assert (run.node_id, run.state) == (None, InstanceState.PENDING)
    assert "Waiting for a node" in ((await stage.deployment(version)).waiting_reason or "")
    with clock.using(MovableClock()) as time:
        time.advance(3 * 3600)
        await DeploymentReconciler(work).round()
        await add_node(work)
        await PlacementReconciler(work).round()
        deadline = (await stage.deployment(version)).deadline_at
        assert deadline is not None
        assert (deadline - clock.now()).total_seconds() > LIMIT_SECONDS


async def test_it_is_not_counted_among_the_replicas(stage: Stage) -> None:
    version = await stage.version(1)
    await stage.ends(await stage.build(version))
    await report_all(stage.conveyor, stage.work, version, InstanceState.READY)
    (web,) = await stage.instances(version, WEB)
    async with changed(stage.work, Instance, web.id) as row:
        row.state, row.stopped_at = FAILED, clock.now()
    (run,) = await stage.instances(version, RELEASE)
    async with changed(stage.work, Instance, run.id) as row:
        row.state = STARTING  # as if it still ran
    with clock.using(MovableClock()) as time:
        time.advance(60)
        await PlacementReconciler(stage.work).round()
    assert len(await stage.instances(version, WEB)) == 2
    assert len(await live(stage.work, version)) == 1


async def test_there_can_be_only_one(stage: Stage) -> None:
    version = await stage.version(1)
    await stage.build(version)
    deployment = await stage.deployment(version)

    async def another() -> None:
        async with stage.work.transaction() as tx:
            release_create(tx, deployment, command=COMMAND, limit_seconds=1)

    with pytest.raises(Conflict):
        await another()


async def test_what_it_runs_stays_what_was_decided(stage: Stage) -> None:
    version = await stage.version(1)
    run = await stage.build(version)
    deployment = await stage.deployment(version)
    async with changed(stage.work, Artifact, str(deployment.artifact_id)) as artifact:
        artifact.manifest = {**artifact.manifest, "release": None}  # as a later build may write
    await stage.ends(run, FAILED, code="release_failed", detail="x")
    assert (await stage.deployment(version)).error_code == "release_failed"
    assert await stage.instances(version, WEB) == []
