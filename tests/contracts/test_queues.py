"""The bus drivers' word on their queues."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from events.delivery import Delivery
from events.memory import MemoryBus
from events.nats_bus import NatsBus
from events.nats_delivery import NatsDelivery
from events.topology import provision
from tests.contracts.bus import fact, scope
from tests.contracts.queues import QueuesContract, look, own_durable
from zeitwork.errors import BrokerUnavailable


class MemoryPuller:
    """See `tests.contracts.queues.Puller`."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.project = scope()
        self.durable = own_durable(self.project)

    async def pull(self) -> Delivery:
        return await self.bus.durable(self.durable).pull()


class NatsPuller:
    """See `tests.contracts.queues.Puller`."""

    def __init__(self, url: str) -> None:
        self.bus = NatsBus(url, name="test")
        self.project = scope()
        self.durable = own_durable(self.project)

    async def pull(self) -> Delivery:
        js = self.bus.jetstream
        bound = await js.pull_subscribe_bind(self.durable.name, self.durable.stream)
        (message,) = await bound.fetch(1, timeout=10)
        await bound.unsubscribe()
        return NatsDelivery(message)


class TestMemoryQueues(QueuesContract):
    """In process."""

    @pytest.fixture
    def puller(self) -> MemoryPuller:
        return MemoryPuller()


class TestNatsQueues(QueuesContract):
    """On a real nats-server."""

    @pytest.fixture
    async def puller(self, nats_url: str) -> AsyncIterator[NatsPuller]:
        puller = NatsPuller(nats_url)
        await puller.bus.start()
        await provision(puller.bus.jetstream, durables=[puller.durable])
        await puller.bus.jetstream.purge_stream("ZW_JOBS")
        yield puller
        await puller.bus.jetstream.purge_stream("ZW_JOBS")
        if puller.durable.name not in (await puller.bus.queues(durables=[puller.durable])).missing:
            await puller.bus.jetstream.delete_consumer("ZW_EVENTS", puller.durable.name)
        await puller.bus.stop()

    async def test_what_is_not_there_is_named(self, puller: NatsPuller) -> None:
        await puller.bus.jetstream.delete_consumer("ZW_EVENTS", puller.durable.name)
        reading = await puller.bus.queues(durables=[puller.durable])
        assert reading.missing == (puller.durable.name,)
        assert reading.durables == ()

    async def test_a_paused_durable_says_so(self, puller: NatsPuller) -> None:
        js = puller.bus.jetstream
        await puller.bus.publish([fact(puller.project, 1)])
        await js.pause_consumer("ZW_EVENTS", puller.durable.name, "2099-01-01T00:00:00Z")
        found = await look(puller)
        assert (found.paused, found.pending) == (True, 1)
        await js.resume_consumer("ZW_EVENTS", puller.durable.name)
        assert (await look(puller)).paused is False

    async def test_a_broker_that_is_away_is_told(self, puller: NatsPuller) -> None:
        closed = NatsBus("nats://127.0.0.1:1", name="away")
        with pytest.raises(BrokerUnavailable):
            await closed.queues()
