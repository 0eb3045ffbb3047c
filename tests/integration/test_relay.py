"""The relay between real PostgreSQL and real NATS: order, batches, being woken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from typing_extensions import override

from db.engine import Database
from db.session import UnitOfWork
from events import subjects
from events.builds import BuildRequested, BuildStarted
from events.bus import Message
from events.github import PushReceived
from events.memory import MemoryBus
from events.nats_bus import NatsBus
from events.topology import provision_url
from producers.relay import Relay
from tests.support.api import deliver, dependencies, serving
from tests.support.eventually import eventually
from tests.support.factories import events_of
from tests.support.relay import (
    Project,
    Waylaid,
    connected,
    is_empty,
    relaying,
    waiting,
)
from zeitwork import tracing
from zeitwork.errors import BrokerUnavailable


@pytest.fixture
async def nats(nats_url: str) -> AsyncIterator[NatsBus]:
    await provision_url(nats_url, durables=[])
    async with connected(nats_url) as bus:
        yield bus


@pytest.fixture
def project(work: UnitOfWork, nats: NatsBus) -> Project:
    return Project(work, nats)


# --- What arrives --------------------------------------------------------------------------------


async def test_each_aggregate_is_heard_in_its_order(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project
) -> None:
    async def live(aggregate: str) -> None:
        for version in range(1, 41):
            await project.say((aggregate, version))

    async with relaying(nats, work):
        await asyncio.gather(*(live(f"bld-{number}") for number in range(6)))
        await eventually(lambda: is_empty(database))
    heard = await project.versions()
    assert len(heard) == len(set(heard)) == 240
    for aggregate in {aggregate for aggregate, _ in heard}:
        versions = [version for name, version in heard if name == aggregate]
        assert versions == sorted(versions)


async def test_a_row_alone_goes_plainly_and_several_as_a_batch(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project
) -> None:
    async with relaying(nats, work):
        await project.say(("bld-1", 1))
        await eventually(lambda: is_empty(database))
        await project.say(("bld-1", 2), ("bld-2", 1), ("bld-3", 1))
        await eventually(lambda: is_empty(database))
    first, *others = await project.heard()
    assert not [name for name in first.headers if name.startswith("Nats-Batch")]
    assert len({message.headers["Nats-Batch-Id"] for message in others}) == 1
    assert [message.headers["Nats-Batch-Sequence"] for message in others] == ["1", "2", "3"]
    assert [b.sequence - a.sequence for a, b in pairwise(others)] == [1, 1]


async def test_an_event_arrives_as_it_was_stored(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project, traces: None
) -> None:
    with tracing.span("test"):
        trace_id = tracing.current_trace_id()
        await project.say(("bld-1", 1), ("bld-2", 1))
    await project.say(("bld-3", 1))
    async with relaying(nats, work):
        await eventually(lambda: is_empty(database))
    rows, messages = await events_of(database), await project.heard()
    assert len(rows) == len(messages) == 3
    for row, message in zip(rows, messages, strict=True):
        own = {name: value for name, value in message.headers.items() if name[:5] != "Nats-"}
        assert own == row.headers
        assert (message.subject, message.data) == (row.subject, row.payload)
        assert message.headers["Nats-Msg-Id"] == row.event_id == own["ce-id"]
    assert [message.headers["traceparent"].split("-")[1] for message in messages[:2]] == [
        trace_id,
        trace_id,
    ]
    assert "traceparent" not in messages[2].headers


async def test_facts_and_jobs_of_one_transaction_go_to_their_streams(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project
) -> None:
    async with work.transaction() as tx:
        for build in ("bld-1", "bld-2", "bld-3"):
            for event in (
                BuildStarted(build_id=build, deployment_id="dep"),
                BuildRequested(build_id=build, deployment_id="dep"),
            ):
                tx.emit(event, subject=build, project_id=project.id)
    async with relaying(nats, work):
        await eventually(lambda: is_empty(database))
    assert await project.versions() == [("bld-1", 1), ("bld-2", 1), ("bld-3", 1)]
    assert await project.jobs() == {
        f"zw.job.build.production.{project.id}.bld-{number}" for number in (1, 2, 3)
    }


async def test_more_rows_than_a_claim_takes_all_go(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project
) -> None:
    await project.say(*((f"bld-{number}", 1) for number in range(1200)))
    async with relaying(nats, work):
        await eventually(lambda: is_empty(database))
    assert await project.versions() == [(f"bld-{number}", 1) for number in range(1200)]


async def test_what_a_transaction_takes_back_is_never_said(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project
) -> None:
    async with relaying(nats, work):
        async with work.transaction() as tx:
            event = BuildStarted(build_id="bld-1", deployment_id="dep")
            tx.emit(event, subject="bld-1", project_id=project.id)
            tx.discard()
        await project.say(("bld-2", 1))
        await eventually(lambda: is_empty(database))
    assert await project.versions() == [("bld-2", 1)]


# --- Being woken, being ready ---------------------------------------------------------------------


class HardOfHearing(MemoryBus):
    """Refuses the first subscription."""

    attempts = 0

    @override
    @asynccontextmanager
    async def listen(
        self, subject: str, *, queue: str | None = None
    ) -> AsyncIterator[AsyncIterator[Message]]:
        self.attempts += 1
        if self.attempts == 1:
            raise BrokerUnavailable("not now")
        async with super().listen(subject, queue=queue) as signals:
            yield signals


async def test_a_relay_that_cannot_be_woken_asks_again(
    work: UnitOfWork, database: Database
) -> None:
    bus = HardOfHearing()
    async with relaying(bus, work):
        await eventually(lambda: bus.attempts == 2)
        await Project(work, NatsBus("nats://127.0.0.1", name="unused")).say(("bld-1", 1))
        await eventually(lambda: is_empty(database))
    assert len(bus.stored("ZW_EVENTS")) == 1


async def test_readiness_tells_the_state(work: UnitOfWork, database: Database) -> None:
    async def publish(messages: Sequence[Message]) -> None:
        raise RuntimeError("a fault that nobody thought of")

    bus = MemoryBus()
    project = Project(work, NatsBus("nats://127.0.0.1", name="unused"))
    relay = Relay(Waylaid(bus, publish), work)
    assert await relay.ready() == "not started"
    await relay.start()
    assert await relay.ready() is None
    await project.say(("bld-1", 1))
    await eventually(relay.crashed.is_set)
    assert await relay.ready() == "crashed"
    assert await waiting(database) == 1
    await relay.stop()


async def test_a_webhook_is_one_trace_and_one_correlation_up_to_nats(
    nats: NatsBus, work: UnitOfWork, tmp_path: Path, traces: None
) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with (
        serving(dependencies(work, nats, tmp_path)) as api,
        relaying(nats, work),
        nats.follow("ZW_EVENTS", subjects.facts(PushReceived)) as pushes,
        asyncio.timeout(30),
    ):
        answer = await deliver(api, traceparent=f"00-{trace}-00f067aa0ba902b7-01")
        message = await anext(pushes)
    assert answer.status == 202
    assert message.headers["ce-correlationid"] == answer.headers["X-Request-Id"]
    assert message.headers["traceparent"].split("-")[1] == trace
