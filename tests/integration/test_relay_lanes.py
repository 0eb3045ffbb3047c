"""Streams that refuse, events that no stream will ever take: the rest goes on, none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from nats.js.api import StreamConfig

from db.engine import Database
from db.models import DeadLetter
from db.session import UnitOfWork
from events.builds import BuildRequested
from events.bus import Message
from events.event import MAX_EVENT_BYTES
from events.nats_bus import NatsBus
from events.topology import provision_url
from tests.support.database import execute
from tests.support.eventually import eventually
from tests.support.factories import events_of, every
from tests.support.relay import Project, Waylaid, connected, own_nats, relaying, waiting_for
from tests.support.servers import ServerHost
from zeitwork import metrics


@pytest.fixture(scope="module")
def own_server(server_host: ServerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A NATS whose streams may be spoilt."""
    with own_nats(server_host, tmp_path_factory.mktemp("nats")) as url:
        yield url


@pytest.fixture
async def nats(own_server: str) -> AsyncIterator[NatsBus]:
    async with connected(own_server) as bus:
        await provision_url(own_server, durables=[])
        yield bus
        for stream in ("ZW_EVENTS", "ZW_JOBS"):
            await bus.jetstream.delete_stream(stream)


@pytest.fixture
def project(work: UnitOfWork, nats: NatsBus) -> Project:
    return Project(work, nats)


async def change(nats: NatsBus, stream: str, **limits: int) -> None:
    info = await nats.jetstream.stream_info(stream)
    settings = {**info.config.as_dict(), **limits}
    await nats.jetstream.update_stream(StreamConfig.from_response(settings))


async def request_builds(work: UnitOfWork, project: Project, *numbers: int) -> None:
    """One transaction that asks for builds."""
    async with work.transaction() as tx:
        for number in numbers:
            event = BuildRequested(build_id=f"bld-{number}", deployment_id="dep")
            tx.emit(event, subject=f"bld-{number}", project_id=project.id)


async def queued(nats: NatsBus) -> list[str]:
    """The builds in ZW_JOBS, in its order."""
    state = (await nats.jetstream.stream_info("ZW_JOBS")).state
    builds = []
    for sequence in range(state.first_seq, state.last_seq + 1):
        message = await nats.jetstream.get_msg("ZW_JOBS", sequence)
        builds.append((message.headers or {})["ce-subject"])
    return builds


async def test_a_full_stream_keeps_its_events_waiting_in_order_and_no_others(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project
) -> None:
    await change(nats, "ZW_JOBS", max_msgs=3)
    await request_builds(work, project, *range(1, 11))
    async with relaying(nats, work) as relay:
        # Those that fit go in, though a batch of all ten does not.
        await eventually(lambda: waiting_for(database, "ZW_JOBS", 7))
        await project.say(*((f"bld-{number}", 1) for number in range(1, 6)))
        await request_builds(work, project, 11, 12)
        await eventually(lambda: waiting_for(database, "ZW_EVENTS", 0))
        assert await waiting_for(database, "ZW_JOBS", 9)
        assert await queued(nats) == ["bld-1", "bld-2", "bld-3"]
        for sequence in (1, 2):
            await nats.jetstream.delete_msg("ZW_JOBS", sequence)
        await eventually(lambda: waiting_for(database, "ZW_JOBS", 7))
        assert await queued(nats) == ["bld-3", "bld-4", "bld-5"]
        await change(nats, "ZW_JOBS", max_msgs=100)
        await eventually(lambda: waiting_for(database, "ZW_JOBS", 0))
        assert await relay.ready() is None
    assert await queued(nats) == [f"bld-{number}" for number in range(3, 13)]
    assert len(await project.versions()) == 5
    assert await every(work, DeadLetter) == []


async def test_events_of_a_stream_that_is_missing_wait_for_it(
    nats: NatsBus, own_server: str, work: UnitOfWork, database: Database, project: Project
) -> None:
    await nats.jetstream.delete_stream("ZW_EVENTS")
    await project.say(("bld-1", 1), ("bld-1", 2))
    await request_builds(work, project, 1, 2)
    async with relaying(nats, work):
        await eventually(lambda: waiting_for(database, "ZW_JOBS", 0))
        assert await waiting_for(database, "ZW_EVENTS", 2)
        await project.say(("bld-1", 3))
        await provision_url(own_server, durables=[])
        await eventually(lambda: waiting_for(database, "ZW_EVENTS", 0))
    assert await project.versions() == [("bld-1", version) for version in (1, 2, 3)]
    assert await queued(nats) == ["bld-1", "bld-2"]


async def test_an_event_too_large_for_its_stream_is_parked_and_the_rest_goes_on(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project, migrated_url: str
) -> None:
    """Two kinds: what we know to be too large, and what only the server says is."""
    for version in range(1, 8):
        await project.say(("bld-1", version))
    events = await events_of(database)
    ours, servers = events[2], events[5]
    await change(nats, "ZW_EVENTS", max_msg_size=2000)
    enlarge(migrated_url, ours.id, MAX_EVENT_BYTES)
    enlarge(migrated_url, servers.id, 3000)
    before = parked()
    async with relaying(nats, work) as relay:
        await eventually(lambda: waiting_for(database, "ZW_EVENTS", 0))
        await project.say(("bld-1", 8))
        await eventually(lambda: waiting_for(database, "ZW_EVENTS", 0))
        assert await relay.ready() is None
    assert [version for _, version in await project.versions()] == [1, 2, 4, 5, 7, 8]
    first, second = sorted(await every(work, DeadLetter), key=lambda letter: letter.sequence)
    assert [first.sequence, second.sequence] == [ours.id, servers.id]
    for letter, event in ((first, ours), (second, servers)):
        assert (letter.durable, letter.stream, letter.state) == ("relay", "ZW_EVENTS", "open")
        assert letter.error_code == "body_too_large"
        assert (letter.event_id, letter.event_type) == (event.event_id, "build.started")
        assert (letter.headers, letter.subject) == (event.headers, event.subject)
        assert letter.project_id == project.id
    assert len(first.payload) == MAX_EVENT_BYTES
    assert parked() - before == 2


def enlarge(url: str, event_log_id: int, size: int) -> None:
    """Make an event that `emit` would have refused; older versions or limits may leave one."""
    execute(
        url,
        f"UPDATE event_log SET payload = convert_to(rpad('', {size}), 'UTF8') "
        f"WHERE id = {event_log_id}",
        tenant="*",
    )


def parked() -> float:
    name, labels = "zeitwork_outbox_parked_total", {"stream": "ZW_EVENTS"}
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_stream_that_hangs_holds_up_no_other(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project
) -> None:
    async def hang(messages: Sequence[Message]) -> None:
        if messages[0].subject.startswith("zw.evt."):
            await asyncio.Event().wait()
        await nats.publish(messages)

    await project.say(("bld-1", 1))
    await request_builds(work, project, 1)
    async with relaying(Waylaid(nats, hang), work):
        await eventually(lambda: waiting_for(database, "ZW_JOBS", 0))
        await request_builds(work, project, 2)
        await eventually(lambda: waiting_for(database, "ZW_JOBS", 0))
    assert await waiting_for(database, "ZW_EVENTS", 1)
