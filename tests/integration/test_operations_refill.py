"""A wiped broker: the stream is filled from the log, lost jobs are found, nothing happens twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from typing_extensions import override

from cli.embedded.nats import NatsServer
from consumers.builds.reconciler import BuildReconciler
from consumers.operations.reconciler import OperationReconciler
from consumers.operations.refill import Refiller
from db.models import Build, Operation, Outbox
from db.queries.operations import operation_create
from db.session import UnitOfWork
from events.memory import MemoryBus
from events.operation_params import RefillParams
from events.states import BuildState, OperationState
from events.streams import EVENTS, JOBS
from events.topology import provision
from tests.support.eventually import eventually
from tests.support.factories import (
    Conveyor,
    MovableClock,
    add_site,
    add_version,
    events_of,
    every,
    fetch,
)
from tests.support.running import Backbone, IdleBuilder, backbone, digests, running_site
from tests.support.servers import ServerHost, free_port
from zeitwork import clock


class LaterClock(clock.SystemClock):
    """The machine's clock, whose monotonic part can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    @override
    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.fixture
def own_nats(server_host: ServerHost) -> Iterator[str]:
    def make() -> NatsServer:
        port = free_port()
        return NatsServer(
            server_host.directory / f"nats-refill-{port}", port=port, monitor_port=free_port()
        )

    with server_host.running(make) as server:
        yield server.url.get_secret_value()


@pytest.fixture
async def running(own_nats: str, work: UnitOfWork) -> AsyncIterator[Backbone]:
    async with backbone(own_nats, work) as found:
        yield found


async def drained(work: UnitOfWork) -> None:
    async def empty() -> bool:
        return not await every(work, Outbox)

    await eventually(empty)


async def held(running: Backbone) -> list[tuple[str, str]]:
    """Subject and id of all facts in the stream, in order."""
    return [
        (stored.subject, stored.headers["Nats-Msg-Id"])
        async for stored in running.bus.contents(EVENTS.name, "zw.evt.>")
    ]


async def wipe(running: Backbone) -> None:
    """Take the events away; the guard of a process would make the empty stream again."""
    await running.bus.jetstream.delete_stream(EVENTS.name)
    await provision(running.bus.jetstream)


async def test_a_refilled_stream_holds_the_same_events_in_the_same_order(
    running: Backbone,
) -> None:
    work = running.work
    await running_site(work, Conveyor(work))
    await drained(work)
    before = await held(running)
    (stored_before,) = await _whole(running, before[0][0])
    logged = [row.event_id for row in await events_of(work.database) if "evt" in row.subject[:6]]
    assert [id_ for _, id_ in before] == logged
    rows_before = await digests(work, without=("event_log", "operations", "outbox", "leases"))

    await wipe(running)
    assert await held(running) == []
    ended = await running.carried_out("refill")
    count = len(before)
    assert ended.report == {
        "logged": count,
        "held": 0,
        "published": count,
        "missing": 0,
        "builds": 0,
    }
    assert (await held(running))[:count] == before
    (stored,) = await _whole(running, before[0][0])
    assert stored.data == stored_before.data
    assert _ours(stored.headers) == _ours(stored_before.headers)
    after = await digests(work, without=("event_log", "operations", "outbox", "leases"))
    assert after == rows_before


async def test_a_second_refill_adds_nothing(running: Backbone) -> None:
    work = running.work
    await running_site(work, Conveyor(work))
    await drained(work)
    whole = await held(running)
    await wipe(running)
    refiller = Refiller(work.database, running.bus)
    first = await refiller.run("opr", RefillParams())
    assert first["published"] == len(whole)
    second = await refiller.run("opr", RefillParams())
    assert (second["held"], second["published"], second["missing"]) == (len(whole), 0, 0)
    assert await held(running) == whole


async def test_long_after_the_window_of_duplicates_only_gaps_are_filled(
    work: UnitOfWork,
) -> None:
    bus = MemoryBus()
    await running_site(work, Conveyor(work))
    async with work.transaction() as tx:
        await tx.session.execute(text("DELETE FROM outbox"))
    refiller = Refiller(work.database, bus)
    with clock.using(LaterClock()) as later:
        first = await refiller.run("opr", RefillParams())
        later.ahead += EVENTS.duplicate_window + 1
        second = await refiller.run("opr", RefillParams())
        assert first["published"] == second["held"] > 0
        assert (second["published"], second["missing"]) == (0, 0)
        assert len(bus.stored(EVENTS.name)) == first["published"]
        gap = bus.stored(EVENTS.name)[3]
        bus._log(EVENTS.name).remove(gap.sequence)
        third = await refiller.run("opr", RefillParams())
    assert (third["published"], third["missing"]) == (1, 0)
    assert bus.stored(EVENTS.name)[-1].headers["ce-id"] == gap.headers["ce-id"]


async def test_what_waits_in_the_outbox_is_left_to_the_relay(work: UnitOfWork) -> None:
    bus = MemoryBus()
    await add_site(work)
    report = await Refiller(work.database, bus).run("opr", RefillParams())
    assert (report["logged"], report["published"]) == (0, 0)
    assert bus.stored(EVENTS.name) == []


async def test_jobs_of_open_builds_are_queued_again_and_built_once(running: Backbone) -> None:
    work = running.work
    site = await add_site(work)
    opened = await add_version(work, site, 1)
    ended = await add_version(work, await add_site(work))
    async with work.transaction() as tx:
        build = await tx.session.get_one(Build, ended.build.id)
        build.state, build.finished_at = BuildState.CANCELLED, clock.now()
    await drained(work)
    await running.bus.jetstream.purge_stream(JOBS.name)
    report = (await running.carried_out("refill")).report
    # NATS takes the id for a duplicate for ten minutes; a wiped server has forgotten it.
    assert report["builds"] == 1
    await running.bus.jetstream.delete_stream(JOBS.name)
    await provision(running.bus.jetstream)
    again = await Refiller(work.database, running.bus).run("opr", RefillParams())
    assert again["builds"] == 1
    subject = f"zw.job.build.production.{site.project.id}.{opened.build.id}"
    assert await running.bus.holds(JOBS.name, subject)
    third = await Refiller(work.database, running.bus).run("opr", RefillParams())
    assert third["builds"] == 0


async def test_a_wiped_broker_heals_by_itself(own_nats: str, work: UnitOfWork) -> None:
    site = await add_site(work)
    version = await add_version(work, site)
    async with work.transaction() as tx:  # as if it had been published to a server now gone
        await tx.session.execute(text("DELETE FROM outbox"))
    builder = IdleBuilder()
    ahead = MovableClock()
    async with backbone(own_nats, work, ("builds",), builder=builder) as running:
        reconciler = BuildReconciler(running.bus, running.work)
        await reconciler.round()
        assert await _requests(work) == 1  # it may yet come
        with clock.using(ahead):
            ahead.advance(61)
            await reconciler.round()
        assert await _requests(work) == 2
        await eventually(lambda: builder.asked)
        (asked,) = builder.asked
        first, second = await events_of(work.database, type_="build.requested")
        assert (asked.id, asked.causation_id) == (second.event_id, first.event_id)
        assert asked.correlation_id == version.deployment.correlation_id


async def test_a_build_whose_job_waits_is_not_asked_for_again(
    own_nats: str, work: UnitOfWork
) -> None:
    site = await add_site(work)
    await add_version(work, site)
    ahead = MovableClock()
    async with backbone(own_nats, work, ()) as running:
        reconciler = BuildReconciler(running.bus, running.work)
        await drained(work)
        with clock.using(ahead):
            ahead.advance(3600)
            await reconciler.round()
    assert await _requests(work) == 1


@pytest.mark.parametrize(
    ("lease_seconds", "asked"), [(60, 1), (-60, 1), (-181, 2)], ids=["held", "just over", "dead"]
)
async def test_a_running_build_is_asked_for_again_long_after_its_lease(
    work: UnitOfWork, lease_seconds: int, asked: int
) -> None:
    site = await add_site(work)
    version = await add_version(work, site)
    async with work.transaction() as tx:
        build = await tx.session.get_one(Build, version.build.id)
        build.state = BuildState.RUNNING
        build.started_at = clock.now() - timedelta(minutes=10)
        build.lease_until = clock.now() + timedelta(seconds=lease_seconds)
        await tx.session.execute(text("DELETE FROM outbox"))
    await BuildReconciler(MemoryBus(), work).round()
    assert await _requests(work) == asked


async def test_a_build_that_nobody_can_build_is_not_asked_for_without_end(
    work: UnitOfWork,
) -> None:
    site = await add_site(work)
    await add_version(work, site)
    ahead = MovableClock()
    reconciler = BuildReconciler(MemoryBus(), work)
    with clock.using(ahead):
        for _ in range(10):
            ahead.advance(300)
            async with work.transaction() as tx:
                await tx.session.execute(text("DELETE FROM outbox"))
            await reconciler.round()
    assert await _requests(work) == 7  # after 5, 10, 15, 20, 30 and 50 minutes: ever more seldom


async def test_an_operation_that_nobody_takes_fails_at_its_deadline(work: UnitOfWork) -> None:
    async with work.transaction() as tx:
        operation = operation_create(tx, "refill", {}, actor="test")
    ahead = MovableClock()
    reconciler = OperationReconciler(work)
    await reconciler.round()
    assert (await fetch(work, Operation, operation.id)).state is OperationState.QUEUED
    with clock.using(ahead):
        ahead.advance(601)
        await reconciler.round()
        await reconciler.round()
    row = await fetch(work, Operation, operation.id)
    assert (row.state, row.error_code) == (OperationState.FAILED, "timed_out")
    (finished,) = await events_of(work.database, type_="operation.finished")
    assert b'"ok":false' in finished.payload


def _ours(headers: Mapping[str, str]) -> dict[str, str]:
    """Without what says in which batch a message came."""
    return {name: value for name, value in headers.items() if not name.startswith("Nats-Batch")}


async def _requests(work: UnitOfWork) -> int:
    return len(await events_of(work.database, type_="build.requested"))


async def _whole(running: Backbone, subject: str) -> list[Any]:
    """The messages on a subject with their bodies."""
    async with running.bus.follow(EVENTS.name, subject, after=0) as messages:
        return [await anext(messages)]
