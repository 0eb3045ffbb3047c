"""Replicas of a consumer group share its work; one that comes or dies loses and repeats nothing."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from events.bus import Message
from events.topology import provision
from tests.support.consumers import World, until
from tests.support.database import execute
from tests.support.eventually import eventually
from tests.support.replica import TABLE, durable_of
from zeitwork import ids

pytestmark = pytest.mark.timeout(180)  # a dozen processes start

ROOT = Path(__file__).parents[2]
JOBS = 1000


class Replicas:
    """Processes that pull from one durable, and what they did."""

    most = 1  # messages that are taken together

    def __init__(self, world: World, database_url: str) -> None:
        self.world = world
        self.durable = durable_of(f"t-{ids.token(6)}", world.project)
        self._database_url = database_url
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, *names: str, hang: str | None = None) -> None:
        """Return when all of them pull."""
        await asyncio.gather(*(self._start(name, hang) for name in names))

    async def hanging(self, name: str) -> None:
        """Return when a handler of it hangs."""
        assert await self._line(name) == b"hanging\n"

    async def kill(self, *names: str) -> None:
        """SIGKILL, at once."""
        for name in names:
            self._processes[name].kill()
        async with asyncio.timeout(30):
            await asyncio.gather(*(self._processes.pop(name).wait() for name in names))

    async def stop(self, *names: str) -> None:
        """SIGTERM; each finishes what it has begun."""
        for name in names:
            self._processes[name].terminate()
        async with asyncio.timeout(30):
            codes = await asyncio.gather(*(self._processes.pop(name).wait() for name in names))
        assert set(codes) == {0}

    async def close(self) -> None:
        await self.kill(*self._processes)

    def effects(self) -> list[tuple[str, str]]:
        """Event and replica of each effect."""
        rows = execute(self._database_url, "SELECT event_id, replica FROM effects")
        return [(event_id, replica) for event_id, replica in rows]

    def at_work(self) -> set[str]:
        return {replica for _, replica in self.effects()}

    async def drained(self) -> bool:
        info = await self.world.bus.jetstream.consumer_info("ZW_EVENTS", self.durable.name)
        return (info.num_pending, info.num_ack_pending) == (0, 0)

    async def _start(self, name: str, hang: str | None) -> None:
        extra = ["--most", str(self.most), *([] if hang is None else ["--hang", hang])]
        self._processes[name] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.replica", name, self.durable.name,
            self.world.project, self.world.url, self._database_url, *extra,
            cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert await self._line(name) == b"started\n"

    async def _line(self, name: str) -> bytes:
        stdout = self._processes[name].stdout
        assert stdout is not None
        return await asyncio.wait_for(stdout.readline(), 30)


@pytest.fixture
async def replicas(world: World, migrated_url: str) -> AsyncIterator[Replicas]:
    execute(migrated_url, TABLE)
    replicas = Replicas(world, migrated_url)
    js = world.bus.jetstream
    await provision(js, durables=[replicas.durable])
    async with AsyncExitStack() as stack:
        stack.push_async_callback(js.delete_consumer, "ZW_EVENTS", replicas.durable.name)
        stack.push_async_callback(replicas.close)
        yield replicas


def exactly_once(replicas: Replicas, messages: list[Message]) -> None:
    """Each message had its effect, and none had it twice."""
    counts = Counter(event_id for event_id, _ in replicas.effects())
    lost = {message.id for message in messages} - set(counts)
    repeated = {event_id: count for event_id, count in counts.items() if count > 1}
    assert (lost, repeated) == (set(), {})
    assert len(counts) == len(messages)


async def test_a_thousand_jobs_through_one_replica_four_and_one_again(replicas: Replicas) -> None:
    replicas.most = 16
    await replicas.start("r1")
    messages = await replicas.world.publish(JOBS // 4)
    await eventually(lambda: len(replicas.effects()) >= 20)
    await replicas.start("r2", "r3", "r4")
    while replicas.at_work() != {"r1", "r2", "r3", "r4"}:
        # However fast they are: there is always something to share.
        messages += await replicas.world.publish(20)
        assert len(messages) < 5 * JOBS, replicas.at_work()
    messages += await replicas.world.publish(max(JOBS // 4, JOBS - len(messages)))
    await replicas.kill("r3", "r4")
    assert not await replicas.drained(), "the scaling must happen under load"
    await replicas.stop("r2")
    await until(replicas.drained, seconds=60)
    exactly_once(replicas, messages)


@pytest.mark.parametrize("most", [1, 16])
@pytest.mark.parametrize("where", ["inside", "after"])
async def test_a_replica_killed_at_the_worst_moment_loses_and_repeats_nothing(
    replicas: Replicas, where: str, most: int
) -> None:
    """Before its commit, when nothing has happened yet, and behind it, when all has but the ack."""
    replicas.most = most
    await replicas.start("lives")
    await replicas.start("dies", hang=where)
    messages = await replicas.world.publish(100)
    await replicas.hanging("dies")
    await replicas.kill("dies")
    await until(replicas.drained, seconds=30)
    exactly_once(replicas, messages)


async def test_replicas_that_join_an_empty_queue_share_what_comes(replicas: Replicas) -> None:
    await replicas.start("r1", "r2", "r3")
    messages = await replicas.world.publish(150)
    await until(replicas.drained, seconds=30)
    exactly_once(replicas, messages)
    shares = Counter(replica for _, replica in replicas.effects())
    assert set(shares) == {"r1", "r2", "r3"}
    assert min(shares.values()) >= 15, shares
