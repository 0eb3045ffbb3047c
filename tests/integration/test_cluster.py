"""The cluster profile: three servers hold every stream; any one of them may go."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import nats.errors
import pytest

from consumers.binding import Binding
from consumers.outcomes import Done, Outcome
from consumers.runtime import ConsumerRuntime
from events.builds import BuildStarted
from events.envelope import Envelope
from events.nats_bus import NatsBus
from events.topology import plan, provision
from tests.contracts.bus import scope
from tests.contracts.consumption import own_durable, started
from tests.support.cluster import Cluster, running
from tests.support.eventually import eventually
from tests.support.servers import ServerHost
from zeitwork.errors import BrokerUnavailable

pytestmark = [
    pytest.mark.timeout(150),
    # nats-py leaves the socket of a server that died to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
REPLICAS = 3
_AWAY_SECONDS = 60.0


@pytest.fixture(scope="module")
def cluster(server_host: ServerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(server_host, tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """No socket of this test is left for the next one to complain about."""
    yield
    gc.collect()


class Load:
    """Publishes without end, and remembers what was acknowledged and what was handled."""

    def __init__(self, cluster: Cluster, *, pause_seconds: float = 0.002) -> None:
        self._cluster = cluster
        self._pause_seconds = pause_seconds
        self.project = scope()
        self.durable = own_durable(self.project)
        self.bus = NatsBus(cluster.url, name="load")
        self.acknowledged: list[str] = []
        self.handled: list[str] = []
        self._stop = asyncio.Event()

    async def handle(self, envelope: Envelope) -> Outcome:
        self.handled.append(envelope.id)
        return Done()

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Publish and handle during the block; afterwards everything has settled."""
        await self.bus.start()
        await _until_provisioned(self.bus, self)
        runtime = ConsumerRuntime(
            self._cluster.url,
            [Binding(self.durable, {BuildStarted: self.handle})],
            replicas=REPLICAS,
        )
        await runtime.start()
        publishing = asyncio.ensure_future(self._publish())
        try:
            yield
            self._stop.set()
            await publishing
            await eventually(lambda: set(self.acknowledged) <= set(self.handled), timeout=60)
        finally:
            self._stop.set()
            await publishing
            await runtime.stop()
            await self.bus.stop()

    async def _publish(self) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            message = started(self.project, number)
            while not self._stop.is_set():
                try:
                    await self.bus.publish([message])
                except BrokerUnavailable:
                    await asyncio.sleep(0.05)  # unknown outcome: the same id is sent again
                else:
                    self.acknowledged.append(str(message.id))
                    break
            await asyncio.sleep(self._pause_seconds)


async def _until_provisioned(bus: NatsBus, load: Load) -> None:
    """A cluster that has just started elects its leader first."""

    async def made() -> bool:
        try:
            await provision(bus.jetstream, durables=[load.durable], replicas=REPLICAS)
        except BrokerUnavailable:
            return False
        return True

    await eventually(made, timeout=60)


async def test_every_stream_has_three_copies(cluster: Cluster) -> None:
    load = Load(cluster)
    async with load.flowing():
        assert await plan(load.bus.jetstream, durables=[load.durable], replicas=REPLICAS) == []
        info = await load.bus.jetstream.stream_info("ZW_EVENTS")
        assert info.config.num_replicas == REPLICAS
        shrink = await plan(load.bus.jetstream, durables=[load.durable], replicas=1)
        assert all(change.shrinks for change in shrink)


async def test_the_leader_of_a_stream_is_killed_under_load(cluster: Cluster) -> None:
    load = Load(cluster)
    async with load.flowing():
        await eventually(lambda: len(load.handled) > 50, timeout=60)
        info = await load.bus.jetstream.stream_info("ZW_EVENTS")
        assert info.cluster is not None
        leader = str(info.cluster.leader)
        before = len(load.acknowledged)
        await cluster.kill(leader)
        await eventually(lambda: len(load.acknowledged) > before + 100, timeout=60)
        await cluster.start(leader)
        await eventually(lambda: _is_current(load.bus, leader), timeout=60)


async def test_a_server_that_was_away_catches_up(cluster: Cluster) -> None:
    load = Load(cluster)
    async with load.flowing():
        await eventually(lambda: len(load.handled) > 10, timeout=60)
        info = await load.bus.jetstream.stream_info("ZW_EVENTS")
        assert info.cluster is not None
        follower = next(name for name in cluster.members if name != info.cluster.leader)
        await cluster.kill(follower)
        before = len(load.acknowledged)
        await eventually(lambda: len(load.acknowledged) > before + 500, timeout=90)
        await cluster.start(follower)
        await eventually(lambda: _is_current(load.bus, follower), timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_server_is_away_for_a_minute_of_light_load_and_catches_up(
    cluster: Cluster,
) -> None:
    load = Load(cluster, pause_seconds=0.05)
    async with load.flowing():
        await eventually(lambda: len(load.handled) > 10, timeout=60)
        info = await load.bus.jetstream.stream_info("ZW_EVENTS")
        assert info.cluster is not None
        away, stays = (name for name in cluster.members if name != info.cluster.leader)
        before = len(load.acknowledged)
        await cluster.kill(away)
        await asyncio.sleep(_AWAY_SECONDS)  # the fault itself, not a wait for its effect
        assert len(load.acknowledged) > before
        assert not await _is_current(load.bus, away)
        await cluster.start(away)
        await eventually(lambda: _is_current(load.bus, away), timeout=60)
        # From now on there is no majority without the one that was away.
        await cluster.kill(stays)
        kept = len(load.acknowledged)
        await eventually(lambda: len(load.acknowledged) > kept + 20, timeout=60)
        held = await eventually(lambda: _held(load), timeout=60)
        assert set(load.acknowledged[:kept]) <= held
        await cluster.start(stays)
        await eventually(lambda: _is_current(load.bus, stays), timeout=60)


async def _held(load: Load) -> set[str]:
    """The ids of the load's events that the stream holds; nothing while an election is on."""
    found = load.bus.contents("ZW_EVENTS", load.durable.filters[0])
    try:
        return {each.headers["ce-id"] async for each in found}
    except BrokerUnavailable:
        return set()


async def _is_current(bus: NatsBus, name: str) -> bool:
    """The server holds what the leader holds."""
    try:
        info = await bus.jetstream.stream_info("ZW_EVENTS")
    except nats.errors.Error:  # an election is on
        return False
    assert info.cluster is not None
    peers = {peer.name: peer.current for peer in info.cluster.replicas or []}
    return info.cluster.leader == name or bool(peers.get(name))
