"""A relay under test: a project that speaks, a bus that can be waylaid, what a stream heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from cli.embedded.nats import NatsServer
from db import outbox
from db.engine import Database
from db.session import UnitOfWork
from events.builds import BuildStarted
from events.bus import Bus, Message, Stored
from events.nats_bus import NatsBus
from producers.relay import Relay
from tests.support.servers import ServerHost, free_port
from zeitwork import ids

Publish = Callable[[Sequence[Message]], Coroutine[Any, Any, None]]


class Project:
    """A project of a test's own; what it says can be told apart in a shared stream."""

    def __init__(self, work: UnitOfWork, bus: NatsBus) -> None:
        self.id = ids.new(ids.Prefix.PROJECT)
        self._work = work
        self._bus = bus

    async def say(self, *facts: tuple[str, int]) -> None:
        """One transaction that emits a fact for each aggregate and version."""
        async with self._work.transaction() as tx:
            for aggregate, version in facts:
                tx.emit(
                    BuildStarted(build_id=aggregate, deployment_id="dep"),
                    subject=aggregate,
                    version=version,
                    project_id=self.id,
                )

    async def heard(self) -> list[Stored]:
        """What ZW_EVENTS holds of this project, in its order."""
        pattern = f"zw.evt.*.*.*.{self.id}.*"
        info = await self._bus.jetstream.stream_info("ZW_EVENTS", subjects_filter=pattern)
        count = sum((info.state.subjects or {}).values())
        async with asyncio.timeout(20), self._bus.follow("ZW_EVENTS", pattern, after=0) as messages:
            return [await anext(messages) for _ in range(count)]

    async def jobs(self) -> set[str]:
        """The subjects of this project that ZW_JOBS holds."""
        pattern = f"zw.job.*.*.{self.id}.*"
        info = await self._bus.jetstream.stream_info("ZW_JOBS", subjects_filter=pattern)
        return set(info.state.subjects or {})

    async def versions(self) -> list[tuple[str, int]]:
        headers = [message.headers for message in await self.heard()]
        return [(each["ce-subject"], int(each["ce-aggregateversion"])) for each in headers]


class Waylaid:
    """A bus on whose `publish` a test does something else, or something more."""

    def __init__(self, bus: Bus, publish: Publish) -> None:
        self._publish = publish
        self.signal = bus.signal
        self.listen = bus.listen
        self.follow = bus.follow
        self.contents = bus.contents
        self.holds = bus.holds
        self.ready = bus.ready

    async def publish(self, messages: Sequence[Message]) -> None:
        await self._publish(messages)


class Recorder:
    """Publishes, and keeps what it was given."""

    def __init__(self, bus: Bus) -> None:
        self.taken: list[str] = []
        self._bus = bus

    async def publish(self, messages: Sequence[Message]) -> None:
        await self._bus.publish(messages)
        self.taken += [message.headers["ce-id"] for message in messages]


@asynccontextmanager
async def relaying(bus: Bus, work: UnitOfWork) -> AsyncIterator[Relay]:
    relay = Relay(bus, work)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[NatsBus]:
    bus = NatsBus(url, name="test")
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


@contextmanager
def own_nats(server_host: ServerHost, directory: Path) -> Iterator[str]:
    """The URL of a NATS whose streams may be spoilt."""

    def make() -> NatsServer:
        return NatsServer(directory, port=free_port(), monitor_port=free_port())

    with server_host.running(make) as server:
        yield server.url.get_secret_value()


async def waiting(database: Database) -> int:
    async with database.read() as session:
        return sum(each.depth for each in (await outbox.backlog(session)).values())


async def is_empty(database: Database) -> bool:
    return await waiting(database) == 0


async def waiting_for(database: Database, stream: str, count: int) -> bool:
    """So many events wait for a stream."""
    async with database.read() as session:
        found = (await outbox.backlog(session)).get(stream)
    return (found.depth if found else 0) == count
