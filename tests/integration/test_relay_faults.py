"""The relay when PostgreSQL, NATS or another relay fails at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from cli.embedded.nats import NatsServer
from db.engine import Database
from db.session import UnitOfWork
from events import streams, subjects
from events.bus import Message
from events.nats_bus import NatsBus
from events.topology import provision_url
from tests.support.database import execute
from tests.support.eventually import eventually
from tests.support.relay import (
    Project,
    Recorder,
    Waylaid,
    connected,
    is_empty,
    relaying,
    waiting,
)
from tests.support.servers import ServerHost, free_port
from zeitwork.errors import BrokerUnavailable


@pytest.fixture
async def nats(nats_url: str) -> AsyncIterator[NatsBus]:
    await provision_url(nats_url, durables=[])
    async with connected(nats_url) as bus:
        yield bus


@pytest.fixture
def project(work: UnitOfWork, nats: NatsBus) -> Project:
    return Project(work, nats)


# --- Faults between publish and commit ------------------------------------------------------------


async def test_a_lost_commit_publishes_again_and_the_stream_holds_one_copy(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project, migrated_url: str
) -> None:
    """PostgreSQL ends the relay's transaction after NATS has stored the rows."""
    calls: list[int] = []

    async def publish(messages: Sequence[Message]) -> None:
        await nats.publish(messages)
        calls.append(len(messages))
        if len(calls) == 1:
            execute(migrated_url, _END_WRITERS)

    await project.say(("bld-1", 1), ("bld-2", 1))
    async with relaying(Waylaid(nats, publish), work):
        await eventually(lambda: is_empty(database))
    assert calls == [2, 2]
    assert await project.versions() == [("bld-1", 1), ("bld-2", 1)]


_END_WRITERS = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE relation = 'outbox'::regclass AND mode = 'RowExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def test_what_a_relay_was_killed_over_goes_out_by_the_next_one(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project
) -> None:
    stuck = asyncio.Event()

    async def publish(messages: Sequence[Message]) -> None:
        await nats.publish(messages)
        stuck.set()
        await asyncio.Event().wait()

    await project.say(("bld-1", 1))
    async with relaying(Waylaid(nats, publish), work), asyncio.timeout(20):
        await stuck.wait()
    assert await waiting(database) == 1
    successor = Recorder(nats)
    async with relaying(Waylaid(nats, successor.publish), work):
        await eventually(lambda: is_empty(database))
    assert len(successor.taken) == 1
    assert await project.versions() == [("bld-1", 1)]


async def test_a_batch_that_nats_did_not_confirm_goes_again(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project
) -> None:
    failures = 2

    async def publish(messages: Sequence[Message]) -> None:
        nonlocal failures
        await nats.publish(messages)
        if failures:
            failures -= 1
            raise BrokerUnavailable("NATS did not confirm: timeout")

    await project.say(("bld-1", 1), ("bld-1", 2))
    async with relaying(Waylaid(nats, publish), work) as relay:
        await eventually(lambda: is_empty(database))
        assert await relay.ready() is None
    assert await project.versions() == [("bld-1", 1), ("bld-1", 2)]


# --- Standing by ----------------------------------------------------------------------------------


async def test_a_second_relay_stands_by_and_takes_over(nats: NatsBus, database: Database) -> None:
    work = UnitOfWork(database, wake=lambda: nats.signal(subjects.WAKE_OUTBOX))
    project = Project(work, nats)
    first, second = Recorder(nats), Recorder(nats)

    async def say(*versions: int) -> None:
        for version in versions:
            await project.say(("bld-1", version))
            await eventually(lambda: is_empty(database))

    async with relaying(Waylaid(nats, first.publish), work) as active:
        await say(1)
        async with relaying(Waylaid(nats, second.publish), work) as standby:
            await say(*range(2, 21))
            assert [await active.ready(), await standby.ready()] == [None, None]
            assert (len(first.taken), second.taken) == (20, [])
            await active.stop()
            await say(*range(21, 41))
    assert (len(first.taken), len(second.taken)) == (20, 20)
    assert await project.versions() == [("bld-1", version) for version in range(1, 41)]


async def test_relays_that_lost_their_locks_go_on(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project, migrated_url: str
) -> None:
    async with relaying(nats, work) as relay:
        await project.say(("bld-1", 1))
        await eventually(lambda: is_empty(database))
        held = execute(migrated_url, _HOLDERS)
        assert execute(migrated_url, _END_HOLDERS) == [(True,)] * len(streams.EMITTED)
        await project.say(("bld-1", 2))
        await eventually(lambda: is_empty(database))
        await eventually(lambda: not {*held} & {*execute(migrated_url, _HOLDERS)})
        await project.say(("bld-1", 3))
        await eventually(lambda: is_empty(database))
        assert await relay.ready() is None
    assert await project.versions() == [("bld-1", version) for version in (1, 2, 3)]


async def test_a_relay_that_lost_its_lock_in_the_middle_is_not_overtaken(
    nats: NatsBus, work: UnitOfWork, database: Database, project: Project, migrated_url: str
) -> None:
    """It does not know, and hands its events to NATS only when its successor has gone on."""
    claimed, late = asyncio.Event(), asyncio.Event()

    async def publish_late(messages: Sequence[Message]) -> None:
        claimed.set()
        await late.wait()
        await nats.publish(messages)

    await project.say(("bld-1", 1))
    async with relaying(Waylaid(nats, publish_late), work), asyncio.timeout(40):
        await claimed.wait()
        execute(migrated_url, _END_HOLDERS)
        successor = Recorder(nats)
        async with relaying(Waylaid(nats, successor.publish), work):
            await project.say(("bld-1", 2))
            await eventually(lambda: is_empty(database))
            assert len(successor.taken) == 2
            late.set()
            await project.say(("bld-1", 3))
            await eventually(lambda: is_empty(database))
    assert await project.versions() == [("bld-1", version) for version in (1, 2, 3)]


_HOLDERS = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_END_HOLDERS = f"SELECT pg_terminate_backend(pid) FROM ({_HOLDERS}) AS holders"


# --- Without NATS ---------------------------------------------------------------------------------


async def test_rows_stay_while_nats_is_away_and_go_out_on_its_return(
    server_host: ServerHost, tmp_path: Path, work: UnitOfWork, database: Database
) -> None:
    def make() -> NatsServer:
        return NatsServer(tmp_path, port=free_port(), monitor_port=free_port())

    with server_host.running(make) as server:
        url = server.url.get_secret_value()
        await provision_url(url, durables=[])
        async with connected(url) as bus, relaying(bus, work) as relay:
            project = Project(work, bus)
            await project.say(("bld-1", 1))
            await eventually(lambda: is_empty(database))
            server.kill()
            await asyncio.to_thread(server_host.run, server.wait())
            await eventually(lambda: not bus.client.is_connected)
            for version in range(2, 12):
                await project.say(("bld-1", version))
            assert await waiting(database) == 10
            assert await relay.ready() is None
            await asyncio.to_thread(server_host.run, server.start())
            await eventually(lambda: is_empty(database), timeout=30)
            assert await project.versions() == [("bld-1", version) for version in range(1, 12)]
