"""Builds whose requests a dead builder holds, or has not made."""

from __future__ import annotations

from typing import cast

import pytest
from sqlalchemy import delete

from consumers.builds.claims import Claims, Place, Taken
from consumers.builds.handler import Builder
from consumers.builds.pipeline import Pipeline
from consumers.builds.prompter import Prompter
from consumers.outcomes import Done
from db.models import Build, Outbox
from db.session import UnitOfWork
from events.memory import MemoryBus
from events.states import BuildState
from tests.integration.test_builds_queue import queued, sites
from tests.support.factories import MovableClock, changed, events_of, fetch
from zeitwork import clock


async def requests_of(work: UnitOfWork, build: Build) -> int:
    """How often it was asked for; the relay has taken all of it."""
    async with work.transaction() as tx:
        await tx.session.execute(delete(Outbox))
    rows = await events_of(work.database, type_="build.requested")
    return sum(row.aggregate_id == build.id for row in rows)


@pytest.mark.parametrize("limit", [1, 100])
async def test_a_machine_with_room_asks_for_what_a_dead_builder_did_not(
    work: UnitOfWork, limit: int
) -> None:
    """It died after the commit that ended a build, or with the next one's request in its hands."""
    place = Place("one", slots=1, per_organisation=limit)
    first, second = await queued(work, await sites(work, 2))
    assert isinstance(await Claims(work, place).take(first.build.id), Taken)
    if limit == 1:
        assert await Claims(work, Place("two", 1, limit)).take(second.build.id) == Done()
    prompter = Prompter(work, place)
    for _ in range(3):
        await prompter.round()
    assert await requests_of(work, second.build) == 1  # there is no room for it
    async with changed(work, Build, first.build.id) as build:
        build.state, build.finished_at = BuildState.SUCCEEDED, clock.now()
    await prompter.round()
    assert await requests_of(work, second.build) == 1  # its own may be on the way
    for _ in range(3):
        await prompter.round()
    assert await requests_of(work, second.build) == 2
    assert (await fetch(work, Build, second.build.id)).passed_at is None


async def test_a_machine_with_room_asks_for_what_a_dead_builder_began(work: UnitOfWork) -> None:
    (version,) = await queued(work, await sites(work, 1))
    assert isinstance(await Claims(work, Place("dead")).take(version.build.id), Taken)
    prompter = Prompter(work, Place("one"))
    for _ in range(3):
        await prompter.round()
    assert await requests_of(work, version.build) == 1
    with clock.using(MovableClock()) as later:
        later.advance(41)
        for _ in range(3):
            await prompter.round()
    assert await requests_of(work, version.build) == 2


async def test_as_many_are_asked_for_as_there_is_room(work: UnitOfWork) -> None:
    versions = await queued(work, await sites(work, 3))
    await requests_of(work, versions[0].build)
    prompter = Prompter(work, Place("one", slots=2))
    for _ in range(3):
        await prompter.round()
    assert [await requests_of(work, version.build) for version in versions] == [2, 2, 1]


async def test_a_request_that_the_relay_has_not_taken_is_not_made_again(work: UnitOfWork) -> None:
    await queued(work, await sites(work, 1))
    prompter = Prompter(work, Place("one"))
    for _ in range(3):
        await prompter.round()
    assert len(await events_of(work.database, type_="build.requested")) == 1


class Deserted:
    """Stands for the pipeline: finds the directories that killed processes left."""

    def __init__(self, *names: str) -> None:
        self._names = names

    async def sweep(self) -> list[str]:
        return [*self._names]

    async def trim(self) -> None:
        return None


async def test_a_process_that_starts_lets_go_of_what_the_one_before_it_held(
    work: UnitOfWork,
) -> None:
    """Those of other machines, and those that still run here, keep their leases."""
    dead, lives, elsewhere = await queued(work, await sites(work, 3))
    here, there = Claims(work, Place("one")), Claims(work, Place("two"))
    for version, claims in ((dead, here), (lives, here), (elsewhere, there)):
        assert isinstance(await claims.take(version.build.id), Taken)
    names = (dead.build.id, elsewhere.build.id, ".trash-x", "bld_nonsense")
    pipeline = cast("Pipeline", Deserted(*names))
    builder = Builder(work=work, bus=MemoryBus(), pipeline=pipeline, place=Place("one"))
    await builder.sweep()
    leases = [await fetch(work, Build, each.build.id) for each in (dead, lives, elsewhere)]
    assert [build.lease_until is None for build in leases] == [True, False, False]
    heir = await here.take(dead.build.id)
    assert isinstance(heir, Taken)
    assert heir.build.id == dead.build.id
