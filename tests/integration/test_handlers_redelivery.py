"""Events come twice, late, and in any order: the end is the same, and no rule breaks on the way."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from sqlalchemy import delete

from db.engine import Database
from db.models import Build, Deployment, Environment, Inbox, Instance, Project
from db.models.base import Base
from db.queries.instances import assignments_of_node
from db.session import UnitOfWork
from events.builds import BuildRequested, BuildStarted
from events.envelope import Envelope
from events.instances import InstanceKind
from events.nodes import NodeDesiredChanged
from events.states import BuildState, DeploymentState, InstanceState, terminal
from tests.support.digest import BUSINESS_TABLES, WRITES, broken_rules, digest, unfinished
from tests.support.factories import (
    Conveyor,
    Version,
    add_node,
    add_organisation,
    add_push,
    add_site,
    changed,
    events_of,
    every,
    fetch,
    finish_build,
    report,
    sha,
)
from tests.support.servers import PostgresAdmin

NOT_BUSINESS = {"event_log", "outbox", "inbox", "leases", "dead_letters", "operations", "builders"}
# What a push to production does not touch.
EMPTY = {
    "users",
    "memberships",
    "build_logs",
    "build_log_packs",
    "previews",
    "pull_requests",
    "deploy_hooks",
    "variables",
    "deployment_variables",
    *(table for table in BUSINESS_TABLES if table.startswith("github_")),
}
MOST_DELIVERIES = 2000
Happening = Callable[[], Awaitable[object]]


class World:
    """The shipped handlers between a builder and a node, in an order that a seed decides.

    Whatever could happen next is in one pool: deliveries of events, the end of a build, the next
    report of the node. Without a seed it happens in order, once. Artifacts have the release command
    `release`, if any.
    """

    def __init__(
        self,
        work: UnitOfWork,
        *,
        seed: int | None = None,
        copies: int = 1,
        release: str | None = None,
    ) -> None:
        self.work = work
        self._release = release
        self.heard: list[Envelope] = []
        self._conveyor = Conveyor(work)
        self._random = random.Random(seed) if seed is not None else None
        self._copies = copies
        self._pool: list[Happening] = []
        self._sequences = itertools.count(1)
        self._running: set[str] = set()
        self._stopped: set[str] = set()

    async def push(self, number: int) -> None:
        await add_push(self.work, guid=f"guid-{number}", after=sha(number))

    async def settle(self) -> None:
        """Go on until nothing more can happen."""
        await self._look()
        for _ in range(MOST_DELIVERIES):
            if not self._pool:
                assert await unfinished(self.work.database) == []
                return
            index = self._random.randrange(len(self._pool)) if self._random else 0
            happening = self._pool.pop(index)
            await happening()
            assert await broken_rules(self.work.database) == []
            await self._look()
        raise AssertionError("it does not come to an end")

    async def _look(self) -> None:
        for said in await self._conveyor.fresh():
            self._hear(said)

    def _hear(self, said: Envelope) -> None:
        self.heard.append(said)
        for _ in range(self._copies):
            self._pool += self._conveyor.deliveries(said)
        match said.data:
            case BuildRequested(build_id=build_id):
                self._pool.append(lambda: self._build(build_id))
            case NodeDesiredChanged(node_id=node_id):
                self._pool.append(lambda: self._reconcile(node_id))
            case _:
                pass

    async def _build(self, build_id: str) -> None:
        async with self.work.transaction() as tx:
            build = await tx.session.get_one(Build, build_id)
            if terminal(build.state):
                return
            build.state = BuildState.RUNNING
            started = BuildStarted(build_id=build.id, deployment_id=build.deployment_id)
            tx.emit(started, subject=build.id, version=build.version + 1)
        self._pool.append(lambda: self._finish(build))

    async def _finish(self, build: Build) -> None:
        if (await fetch(self.work, Build, build.id)).state is BuildState.RUNNING:
            deployment = await fetch(self.work, Deployment, build.deployment_id)
            await finish_build(self.work, Version(deployment, build), release=self._release)

    async def _reconcile(self, node_id: str) -> None:
        async with self.work.database.read() as session:
            wanted = await assignments_of_node(session, node_id)
        for assignment in sorted(wanted, key=lambda each: each.instance.slot):
            instance = assignment.instance
            if instance.state is InstanceState.DRAINING and instance.id not in self._stopped:
                self._stopped.add(instance.id)
                self._report(instance, InstanceState.STOPPED)
            elif instance.id not in self._running | self._stopped:
                self._running.add(instance.id)
                port = 9000 + 10 * assignment.deployment.number + instance.slot
                self._report(instance, InstanceState.STARTING)
                if instance.kind is InstanceKind.RELEASE:
                    self._report(instance, InstanceState.STOPPED, exit_code=0)
                else:
                    self._report(instance, InstanceState.READY, host="10.0.0.1", port=port)

    def _report(self, instance: Instance, state: InstanceState, **said: object) -> None:
        self._hear(report(instance, state, sequence=next(self._sequences), **said))


@asynccontextmanager
async def furnished(url: str) -> AsyncIterator[UnitOfWork]:
    """A database with a node and a project of two replicas, named the same every time."""
    database = Database(SecretStr(url), application="test")
    work = UnitOfWork(database)
    try:
        await add_node(work)
        organisation_id = await add_organisation(work, "acme")
        site = await add_site(work, "shop", organisation_id=organisation_id)
        async with work.transaction() as tx:
            environment = await tx.session.get_one(Environment, site.environment.id)
            environment.replicas = 2
        yield work
    finally:
        await database.stop()


@pytest.fixture
async def ordered(
    postgres_admin: PostgresAdmin, migrated_template: str
) -> AsyncIterator[UnitOfWork]:
    """A database of its own, to compare with."""
    url = postgres_admin.create_database(template=migrated_template)
    async with furnished(url) as work:
        yield work
    postgres_admin.drop_database(url)


@pytest.fixture
async def stormy(migrated_url: str) -> AsyncIterator[UnitOfWork]:
    async with furnished(migrated_url) as work:
        yield work


def test_the_digest_looks_at_every_business_table() -> None:
    assert set(Base.metadata.tables) - NOT_BUSINESS == BUSINESS_TABLES


async def test_the_digest_names_things_not_ids_and_tells_states_apart(
    ordered: UnitOfWork, stormy: UnitOfWork
) -> None:
    for work in (ordered, stormy):
        world = World(work)
        await world.push(1)
        await world.settle()
    same = await digest(ordered.database)
    assert same == await digest(stormy.database)
    assert all(same[table] for table in BUSINESS_TABLES - EMPTY)
    async with stormy.transaction() as tx:
        (instance, _) = await every(stormy, Instance)
        (await tx.session.get_one(Instance, instance.id)).port = 1
    assert same != await digest(stormy.database)


async def test_three_deliveries_of_each_event_are_as_good_as_one(
    ordered: UnitOfWork, stormy: UnitOfWork
) -> None:
    """Not a row is written once more, not an event said once more."""
    for work, copies in ((ordered, 1), (stormy, 3)):
        world = World(work, copies=copies)
        for number in (1, 2):
            await world.push(number)
            await world.settle()
    assert await digest(stormy.database) == await digest(ordered.database)
    said = [[row.type for row in await events_of(work.database)] for work in (stormy, ordered)]
    assert sorted(said[0]) == sorted(said[1])


@pytest.mark.parametrize("seed", range(6))
async def test_one_push_ends_the_same_in_any_order(
    ordered: UnitOfWork, stormy: UnitOfWork, seed: int
) -> None:
    for work, world in (
        (ordered, World(ordered)),
        (stormy, World(stormy, seed=seed, copies=3)),
    ):
        await world.push(1)
        await world.settle()
        assert {row.state for row in await every(work, Deployment)} == {DeploymentState.ACTIVE}
    one, other = [await digest(work.database, ignore=WRITES) for work in (ordered, stormy)]
    assert other == one


@pytest.mark.parametrize("seed", range(4))
async def test_a_push_with_a_release_ends_the_same_in_any_order(
    ordered: UnitOfWork, stormy: UnitOfWork, seed: int
) -> None:
    for work, world in (
        (ordered, World(ordered, release="migrate")),
        (stormy, World(stormy, seed=seed, copies=3, release="migrate")),
    ):
        await world.push(1)
        await world.settle()
        (deployment,) = await every(work, Deployment)
        assert deployment.state is DeploymentState.ACTIVE
        (run,) = await every(work, Instance, kind=InstanceKind.RELEASE)
        assert (run.state, run.exit_code) == (InstanceState.STOPPED, 0)
    one, other = [await digest(work.database, ignore=WRITES) for work in (ordered, stormy)]
    assert other == one


@pytest.mark.parametrize("newer_commit", ["cancel", "all"])
@pytest.mark.parametrize("seed", range(4))
async def test_of_three_pushes_at_once_the_newest_serves_in_any_order(
    stormy: UnitOfWork, seed: int, newer_commit: str
) -> None:
    (project,) = await every(stormy, Project)
    async with changed(stormy, Project, project.id) as row:
        row.newer_commit = newer_commit
    world = World(stormy, seed=seed, copies=2, release="migrate" if seed % 2 else None)
    for number in (1, 2, 3):
        await world.push(number)
    await world.settle()
    deployments = sorted(await every(stormy, Deployment), key=lambda row: row.number)
    *older, newest = [row.state for row in deployments]
    assert newest is DeploymentState.ACTIVE
    over = {DeploymentState.SUPERSEDED, DeploymentState.CANCELLED}
    assert set(older) <= (over if newer_commit == "cancel" else {DeploymentState.SUPERSEDED})
    serving = [
        row
        for row in await every(stormy, Instance)
        if row.state not in {InstanceState.STOPPED, InstanceState.FAILED}
    ]
    assert {row.deployment_id for row in serving} == {deployments[-1].id}
    assert {(row.slot, row.state) for row in serving} == {
        (slot, InstanceState.READY) for slot in (0, 1)
    }


@pytest.mark.parametrize("seed", range(3))
async def test_a_whole_history_again_without_the_inbox_changes_nothing(
    stormy: UnitOfWork, seed: int
) -> None:
    """As after the stream was refilled from the log, later than the inbox remembers."""
    world = World(stormy, release="migrate" if seed else None)
    for number in (1, 2):
        await world.push(number)
        await world.settle()
    async with stormy.transaction() as tx:
        await tx.session.execute(delete(Inbox))
    before, said = await digest(stormy.database), len(await events_of(stormy.database))
    again = world.heard * 3
    random.Random(seed).shuffle(again)
    conveyor = Conveyor(stormy)
    for envelope in again:
        await conveyor.deliver(envelope)
    assert await digest(stormy.database) == before
    assert len(await events_of(stormy.database)) == said
