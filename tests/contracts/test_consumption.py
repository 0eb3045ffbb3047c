"""The consumers' runtimes, each put through the same contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import nats.errors
import pytest

from consumers.binding import Bound
from consumers.memory_runtime import MemoryRuntime
from consumers.runtime import ConsumerRuntime
from events.bus import Stored
from events.delivery import Delivery
from events.memory import MemoryBus
from events.nats_bus import NatsBus
from events.nats_delivery import NatsDelivery
from events.topology import provision
from tests.contracts.bus import scope
from tests.contracts.consumption import ConsumptionContract, own_durable
from tests.contracts.together import TogetherContract


class MemoryDriver:
    """See `tests.contracts.consumption.Driver`."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.project = scope()
        self.durable = own_durable(self.project)

    @asynccontextmanager
    async def running(self, *bindings: Bound) -> AsyncIterator[None]:
        runtime = MemoryRuntime(self.bus, bindings, graceful_seconds=0.1)
        await runtime.start()
        try:
            yield
        finally:
            await runtime.stop()

    async def settled(self) -> bool:
        return self.bus.durable(self.durable).settled

    async def hand_out(self) -> Delivery | None:
        try:
            async with asyncio.timeout(0.5):
                return await self.bus.durable(self.durable).pull()
        except TimeoutError:
            return None

    async def stored(self, stream: str, subject: str) -> Sequence[Stored]:
        return self.bus.stored(stream, subject)


class NatsDriver:
    """See `tests.contracts.consumption.Driver`."""

    def __init__(self, url: str) -> None:
        self.bus = NatsBus(url, name="test")
        self.project = scope()
        self.durable = own_durable(self.project)
        self._url = url

    @asynccontextmanager
    async def running(self, *bindings: Bound) -> AsyncIterator[None]:
        runtime = ConsumerRuntime(self._url, bindings, graceful_seconds=0.1)
        await runtime.start()
        try:
            yield
        finally:
            await runtime.stop()

    async def settled(self) -> bool:
        info = await self.bus.jetstream.consumer_info("ZW_EVENTS", self.durable.name)
        return not (info.num_pending or info.num_ack_pending)

    async def hand_out(self) -> Delivery | None:
        pull = await self.bus.jetstream.pull_subscribe_bind(self.durable.name, "ZW_EVENTS")
        try:
            (message,) = await pull.fetch(1, timeout=0.5)
        except nats.errors.TimeoutError:
            return None
        finally:
            await pull.unsubscribe()
        return NatsDelivery(message)

    async def stored(self, stream: str, subject: str) -> Sequence[Stored]:
        info = await self.bus.jetstream.stream_info(stream, subjects_filter=subject)
        count = sum((info.state.subjects or {}).values())
        async with self.bus.follow(stream, subject, after=0) as messages:
            return [await anext(messages) for _ in range(count)]


@pytest.fixture
def in_memory() -> MemoryDriver:
    return MemoryDriver()


@pytest.fixture
async def on_nats(nats_url: str) -> AsyncIterator[NatsDriver]:
    driver = NatsDriver(nats_url)
    await driver.bus.start()
    await provision(driver.bus.jetstream, durables=[driver.durable])
    yield driver
    await driver.bus.jetstream.delete_consumer("ZW_EVENTS", driver.durable.name)
    await driver.bus.stop()


class TestMemoryConsumption(ConsumptionContract):
    """The in-memory runtime."""

    @pytest.fixture
    def driver(self, in_memory: MemoryDriver) -> MemoryDriver:
        return in_memory


class TestNatsConsumption(ConsumptionContract):
    """FastStream on a real server."""

    @pytest.fixture
    def driver(self, on_nats: NatsDriver) -> NatsDriver:
        return on_nats


class TestMemoryTogether(TogetherContract):
    """The in-memory runtime, with a real database."""

    @pytest.fixture
    def driver(self, in_memory: MemoryDriver) -> MemoryDriver:
        return in_memory


class TestNatsTogether(TogetherContract):
    """Our pullers on a real server, with a real database."""

    @pytest.fixture
    def driver(self, on_nats: NatsDriver) -> NatsDriver:
        return on_nats
