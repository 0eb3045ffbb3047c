"""The queue of builds: limits that hold however many ask at once, and no request that is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import text, update

from consumers.builds.announcer import Announcer, register
from consumers.builds.claims import Claims, Place, Taken
from consumers.builds.handler import Builder
from consumers.builds.manifest import Manifest
from consumers.builds.pipeline import BuildRequest, BuildResult, Pipeline
from consumers.outcomes import Done, Later, Outcome
from db.models import Build, BuildLog, Deployment
from db.queries.artifacts import blobs_note
from db.queries.builds import builds_cancel
from db.session import UnitOfWork
from events.builds import BuildRequested, Priority
from events.deployments import NewerCommit
from events.memory import MemoryBus
from events.states import BuildState, DeploymentState
from tests.support.eventually import eventually
from tests.support.factories import (
    MovableClock,
    Site,
    Version,
    add_organisation,
    add_site,
    add_version,
    changed,
    envelope,
    events_of,
    every,
    fetch,
)
from zeitwork import clock
from zeitwork.blobs import Blob

_ROUNDS = 10
WIDE = Place("one", slots=100, per_organisation=100)


class Gauge:
    """Stands for the pipeline: counts who builds at once, and ends a build when told."""

    def __init__(self, work: UnitOfWork) -> None:
        self.work = work
        self.begun: list[str] = []
        self.most = 0
        self._open: dict[str, asyncio.Event] = {}

    async def build(self, request: BuildRequest, _log: Any) -> BuildResult:
        self.begun.append(request.build_id)
        self._open[request.build_id] = asyncio.Event()
        self.most = max(self.most, len(self._open))
        try:
            await self._open[request.build_id].wait()
        finally:
            del self._open[request.build_id]
        digest = request.build_id[-32:].ljust(64, "0")
        blob = Blob(digest, 1)
        async with self.work.transaction() as tx:
            await blobs_note(tx.session, [blob])
        return BuildResult(blob, Manifest(builder="static", processes={"web": "run"}))

    def finish(self, build_id: str) -> None:
        self._open[build_id].set()

    def finish_all(self) -> None:
        for event in self._open.values():
            event.set()

    @property
    def running(self) -> set[str]:
        return set(self._open)


class Farm:
    """Builders that share a database, and the requests that a relay would hand to them."""

    def __init__(self, work: UnitOfWork, *places: Place) -> None:
        self.work = work
        self.gauge = Gauge(work)
        pipeline = cast("Pipeline", self.gauge)
        self._builders = [
            Builder(work=work, bus=MemoryBus(), pipeline=pipeline, place=place) for place in places
        ]
        self._handed = 0
        self.tasks: list[asyncio.Task[Outcome]] = []

    async def hand_out(self) -> None:
        """Every request that nobody got yet, to the builders in turn."""
        rows = await events_of(self.work.database, type_="build.requested")
        builds = {row.id: row for row in await every(self.work, Build)}
        for row in rows[self._handed :]:
            build = builds[row.aggregate_id]
            event = BuildRequested(build_id=build.id, deployment_id=build.deployment_id)
            builder = self._builders[len(self.tasks) % len(self._builders)]
            handling = builder.build_requested(envelope(event, subject=build.id))
            self.tasks.append(asyncio.ensure_future(handling))
        self._handed = len(rows)

    async def drain(self) -> None:
        """Build until nothing is left; a request that was put off comes again."""

        async def over() -> bool:
            await self.hand_out()
            self.gauge.finish_all()
            builds = await every(self.work, Build)
            return all(build.finished_at is not None for build in builds)

        await eventually(over, timeout=40)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def queued(work: UnitOfWork, sites: Sequence[Site], each: int = 1) -> list[Version]:
    return [await add_version(work, site, number) for number in range(each) for site in sites]


async def sites(work: UnitOfWork, count: int, **changes: Any) -> list[Site]:
    organisation_id = await add_organisation(work)
    return [
        await add_site(work, organisation_id=organisation_id, newer_commit="all", **changes)
        for _ in range(count)
    ]


async def running(work: UnitOfWork) -> list[Build]:
    return [row for row in await every(work, Build) if row.state is BuildState.RUNNING]


async def test_two_processes_that_claim_at_once_never_exceed_what_an_organisation_may(
    work: UnitOfWork,
) -> None:
    """Many rounds: between counting and taking there is only a moment for others."""
    most = 4
    await queued(work, await sites(work, 10))
    builds = [build.id for build in await every(work, Build)]
    claims = [Claims(work, Place(name, 100, most)) for name in ("one", "two")]
    for _ in range(_ROUNDS):
        takes = [claims[number % 2].take(build) for number, build in enumerate(builds)]
        found = await asyncio.gather(*takes)
        taken = {each.build.id for each in found if isinstance(each, Taken)}
        assert len(taken) == len(await running(work)) == most
        await _queue_anew(work)


async def test_processes_of_one_machine_share_its_slots(work: UnitOfWork) -> None:
    place = Place("one", slots=3, per_organisation=100)
    await queued(work, await sites(work, 6))
    builds = [build.id for build in await every(work, Build)]
    claims = [Claims(work, place), Claims(work, place)]
    takes = [claims[number % 2].take(build) for number, build in enumerate(builds)]
    found = await asyncio.gather(*takes)
    assert sum(isinstance(each, Taken) for each in found) == len(await running(work)) == 3
    # The rest is left to other machines, and comes again.
    assert [each.seconds for each in found if isinstance(each, Later)] == [1.0] * 3


async def _queue_anew(work: UnitOfWork) -> None:
    async with work.transaction() as tx:
        await tx.session.execute(
            update(Build).values(state=BuildState.QUEUED, lease_until=None, attempts=0)
        )


async def test_every_build_is_built_once_within_the_limits_of_all(work: UnitOfWork) -> None:
    """Requests that find a limit are used up; whoever makes room asks anew."""
    await queued(work, await sites(work, 3), each=3)
    await queued(work, await sites(work, 2), each=2)
    farm = Farm(work, Place("one", 100, 2), Place("two", 100, 2))
    try:
        await farm.drain()
    finally:
        await farm.close()
    assert Counter(farm.gauge.begun) == {build.id: 1 for build in await every(work, Build)}
    assert farm.gauge.most <= 4  # two of each organisation
    assert {row.state for row in await every(work, Build)} == {BuildState.SUCCEEDED}


async def test_a_request_that_was_used_up_at_a_limit_is_made_again_when_there_is_room(
    work: UnitOfWork,
) -> None:
    one, two = await queued(work, await sites(work, 2))
    farm = Farm(work, Place("one", 100, 1))
    try:
        await farm.hand_out()
        await eventually(lambda: farm.gauge.running)
        (first,) = farm.gauge.running
        waiting = ({one.build.id, two.build.id} - {first}).pop()

        async def passed_over() -> bool:
            return (await fetch(work, Build, waiting)).passed_at is not None

        await eventually(passed_over)
        assert farm.gauge.begun == [first]
        farm.gauge.finish(first)
        await eventually(lambda: _asked(work, 3))
        again = (await events_of(work.database, type_="build.requested"))[-1]
        assert again.aggregate_id == waiting
        await farm.drain()
    finally:
        await farm.close()
    assert farm.gauge.begun == [first, waiting]


async def _asked(work: UnitOfWork, count: int) -> bool:
    return len(await events_of(work.database, type_="build.requested")) == count


async def test_production_goes_before_previews_and_projects_take_turns(work: UnitOfWork) -> None:
    busy, idle, previews = await sites(work, 3)
    (preview,) = await queued(work, [previews])
    async with changed(work, Build, preview.build.id) as build:
        build.priority = Priority.PREVIEW
    first, second = await queued(work, [busy], each=2)
    (third,) = await queued(work, [idle])
    claims = Claims(work, WIDE)
    found = [await claims.take(preview.build.id) for _ in range(4)]
    assert [each.build.id for each in found if isinstance(each, Taken)] == [
        version.build.id for version in (first, third, second, preview)
    ]


async def test_what_a_builder_says_belongs_to_the_build_it_took_not_to_the_request(
    work: UnitOfWork,
) -> None:
    asked, urgent = await queued(work, await sites(work, 2))
    async with changed(work, Build, asked.build.id) as build:
        build.priority = Priority.PREVIEW
    taken = await Claims(work, WIDE).take(asked.build.id)
    assert isinstance(taken, Taken)
    (started,) = await events_of(work.database, type_="build.started")
    assert started.aggregate_id == taken.build.id == urgent.build.id
    assert started.correlation_id == urgent.deployment.correlation_id


async def test_a_dead_builders_slot_is_free_when_its_lease_is_over(work: UnitOfWork) -> None:
    place = Place("one", slots=1)
    one, two = await queued(work, await sites(work, 2))
    assert isinstance(await Claims(work, place).take(one.build.id), Taken)
    with clock.using(MovableClock()) as later:
        later.advance(41)
        heir = await Claims(work, place).take(two.build.id)
        assert isinstance(heir, Taken)
        assert heir.build.id == one.build.id
        assert heir.build.attempts == 2


async def test_a_build_that_ends_its_builders_is_given_up(work: UnitOfWork) -> None:
    (version,) = await queued(work, await sites(work, 1))
    claims = Claims(work, WIDE)
    with clock.using(MovableClock()) as later:
        for _ in range(3):
            assert isinstance(await claims.take(version.build.id), Taken)
            later.advance(41)
        assert await claims.take(version.build.id) == Done()
    build = await fetch(work, Build, version.build.id)
    assert (build.state, build.error_code) == (BuildState.FAILED, "builder_lost")
    (failed,) = await events_of(work.database, type_="build.failed")
    assert failed.aggregate_id == build.id


async def test_builds_that_were_only_interrupted_are_not_given_up(work: UnitOfWork) -> None:
    (version,) = await queued(work, await sites(work, 1))
    claims = Claims(work, WIDE)
    for _ in range(5):
        taken = await claims.take(version.build.id)
        assert isinstance(taken, Taken)
        await claims.give_back(taken, interrupted=True)
    assert isinstance(await claims.take(version.build.id), Taken)


# --- Newest commit wins ---------------------------------------------------------------------------


async def test_a_newer_commit_cancels_the_older_build_queued_or_running(work: UnitOfWork) -> None:
    site = await add_site(work)
    older = await add_version(work, site, 1)
    assert isinstance(await Claims(work, WIDE).take(older.build.id), Taken)
    waiting = await add_version(work, site, 2)
    newest = await add_version(work, site, 3)
    for version in (older, waiting):
        assert (await fetch(work, Build, version.build.id)).state is BuildState.CANCELLED
        deployment = await fetch(work, Deployment, version.deployment.id)
        assert deployment.state is DeploymentState.CANCELLED
        assert deployment.error_code == "newer_commit"
    assert (await fetch(work, Build, newest.build.id)).state is BuildState.QUEUED


async def test_the_newer_commit_of_another_environment_or_project_cancels_nothing(
    work: UnitOfWork,
) -> None:
    one, two = await add_site(work), await add_site(work)
    first = await add_version(work, one, 1)
    await add_version(work, two, 2)
    assert (await fetch(work, Build, first.build.id)).state is BuildState.QUEUED


async def test_a_project_that_queues_builds_one_commit_after_the_other(work: UnitOfWork) -> None:
    site = await add_site(work, newer_commit=NewerCommit.QUEUE)
    versions = [await add_version(work, site, number) for number in (1, 2, 3)]
    farm = Farm(work, WIDE)
    try:
        await farm.hand_out()
        await farm.drain()
    finally:
        await farm.close()
    assert farm.gauge.begun == [version.build.id for version in versions]
    assert farm.gauge.most == 1


async def test_a_project_that_wants_all_builds_them_at_once(work: UnitOfWork) -> None:
    site = await add_site(work, newer_commit=NewerCommit.ALL)
    for number in (1, 2, 3):
        await add_version(work, site, number)
    farm = Farm(work, WIDE)
    try:
        await farm.hand_out()
        await eventually(lambda: len(farm.gauge.running) == 3)
    finally:
        await farm.close()


async def test_a_build_that_is_cancelled_while_it_is_chosen_is_not_built(work: UnitOfWork) -> None:
    one, two = await queued(work, await sites(work, 2))
    async with work.transaction() as tx:
        await builds_cancel(tx, one.deployment.id)
        taking = asyncio.ensure_future(Claims(work, WIDE).take(one.build.id))
        await eventually(lambda: _waits_for_a_row(work))
    taken = await taking
    assert isinstance(taken, Taken)
    assert taken.build.id == two.build.id


async def _waits_for_a_row(work: UnitOfWork) -> bool:
    async with work.database.read() as session:
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype <> 'advisory'"
        return bool((await session.execute(text(query))).scalar_one())


# --- Where a build stands -------------------------------------------------------------------------


async def test_a_waiting_build_reads_in_its_log_where_it_stands(work: UnitOfWork) -> None:
    place = Place("one", slots=1)
    await register(work, place)
    first, second = await queued(work, await sites(work, 2))
    announcer = Announcer(work, place)
    with clock.using(MovableClock()) as later:
        later.advance(5)
        await announcer.round()
        await announcer.round()
        assert await _log(work, second) == [
            "Waiting for a builder: number 2 in the queue, begins in about 60 s"
        ]
        taken = await Claims(work, place).take(first.build.id)
        assert isinstance(taken, Taken)
        assert taken.thread.last_line == 1
        await announcer.round()
    assert [line.partition(",")[0] for line in await _log(work, second)] == [
        "Waiting for a builder: number 2 in the queue",
        "Waiting for a builder: number 1 in the queue",
    ]


async def _log(work: UnitOfWork, version: Version) -> list[str]:
    return [row.line for row in await every(work, BuildLog, build_id=version.build.id)]
