"""Two real API processes: one relays, is killed, and the other goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from db.engine import Database
from db.session import UnitOfWork
from events import subjects
from events.nats_bus import NatsBus
from events.topology import provision_url
from tests.support.api_process import ApiProcess, api_process
from tests.support.database import execute
from tests.support.eventually import eventually
from tests.support.relay import Project, connected, is_empty, own_nats
from tests.support.servers import ServerHost

AGGREGATES = 4


@pytest.fixture
def own_url(server_host: ServerHost, tmp_path: Path) -> Iterator[str]:
    with own_nats(server_host, tmp_path / "nats") as url:
        yield url


@pytest.fixture
async def nats(own_url: str) -> AsyncIterator[NatsBus]:
    await provision_url(own_url, durables=[])
    async with connected(own_url) as bus:
        yield bus


class Replicas:
    """Processes of the API on the test's database and NATS."""

    def __init__(self, stack: ExitStack, directory: Path, **settings: str) -> None:
        self._stack = stack
        self._directory = directory
        self._settings = settings

    async def start(self) -> ApiProcess:
        process = self._stack.enter_context(api_process(self._directory, **self._settings))
        await eventually(lambda: asyncio.to_thread(process.is_ready), timeout=30)
        return process


async def test_the_standby_goes_on_where_the_killed_relay_was(
    nats: NatsBus, own_url: str, database: Database, migrated_url: str, tmp_path: Path
) -> None:
    work = UnitOfWork(database, wake=lambda: nats.signal(subjects.WAKE_OUTBOX))
    project = Project(work, nats)
    said = dict.fromkeys(range(AGGREGATES), 0)
    over = asyncio.Event()

    async def speak(aggregate: int) -> None:
        while not over.is_set():
            said[aggregate] += 1
            await project.say((f"bld-{aggregate}", said[aggregate]))
            await asyncio.sleep(0.01)  # a load, not a flood

    async def what_is_said_now_gets_through() -> None:
        before = dict(said)
        await eventually(lambda: all(said[each] > before[each] for each in said))
        last = execute(migrated_url, "SELECT max(event_log_id) FROM outbox")[0][0] or 0
        still = f"SELECT FROM outbox WHERE event_log_id <= {last}"
        await eventually(lambda: not execute(migrated_url, still))

    with ExitStack() as stack:
        settings = {
            "ZEITWORK_DATABASE_URL": migrated_url,
            "ZEITWORK_NATS_URL": own_url,
        }
        replicas = Replicas(stack, tmp_path, **settings)
        active = await replicas.start()
        await eventually(active.is_relaying)
        async with asyncio.TaskGroup() as group:
            for aggregate in said:
                group.create_task(speak(aggregate))
            for _ in range(2):
                standby = await replicas.start()
                assert not standby.is_relaying()
                await what_is_said_now_gets_through()
                active.kill()
                await eventually(standby.is_relaying)
                await what_is_said_now_gets_through()
                active = standby
            over.set()
        await eventually(lambda: is_empty(database))
    versions = await project.versions()
    for aggregate, last in said.items():
        found = [version for name, version in versions if name == f"bld-{aggregate}"]
        assert found == list(range(1, last + 1))
