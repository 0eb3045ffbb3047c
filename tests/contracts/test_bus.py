"""The bus drivers against their contract, and NATS through the loss of its server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

import pytest

from cli.embedded.nats import NatsServer
from events import streams
from events.bus import Bus, Message, Stored
from events.memory import MemoryBus
from events.nats_bus import NatsBus
from events.topology import provision, provision_url
from tests.contracts.bus import BusContract, Held, fact, facts_of, job, scope, take
from tests.support.eventually import eventually
from tests.support.servers import ServerHost
from zeitwork.errors import BrokerUnavailable


class TestMemoryBus(BusContract):
    """In process."""

    @pytest.fixture
    def bus(self) -> Bus:
        return MemoryBus()

    @pytest.fixture
    def held(self, bus: MemoryBus) -> Held:
        async def held(stream: str, subject: str) -> Sequence[Stored]:
            return bus.stored(stream, subject)

        return held

    async def test_a_job_that_was_taken_can_be_queued_again(self) -> None:
        bus = MemoryBus()
        await bus.publish([job("p", 1)])
        (stored,) = bus.stored("ZW_JOBS")
        await bus.remove("ZW_JOBS", stored.sequence)
        await bus.publish([job("p", 1)])
        assert [message.sequence for message in bus.stored("ZW_JOBS")] == [2]

    async def test_the_oldest_go_where_a_subject_is_limited(self) -> None:
        bus = MemoryBus()
        limit = streams.LOGS.max_msgs_per_subject
        await bus.publish([Message("zw.log.build.b", b"%d" % line) for line in range(limit + 2)])
        kept = bus.stored("ZW_LOGS")
        assert len(kept) == limit
        assert kept[0].data == b"2"


class TestNatsBus(BusContract):
    """On a real nats-server."""

    @pytest.fixture
    async def bus(self, nats_url: str) -> AsyncIterator[NatsBus]:
        await provision_url(nats_url)
        bus = NatsBus(nats_url, name="contract")
        await bus.start()
        await bus.jetstream.purge_stream("ZW_JOBS")
        yield bus
        await bus.jetstream.purge_stream("ZW_JOBS")
        await bus.stop()

    @pytest.fixture
    def held(self, bus: NatsBus) -> Held:
        async def held(stream: str, subject: str) -> Sequence[Stored]:
            js = bus.jetstream
            counts = (await js.stream_info(stream, subjects_filter=subject)).state.subjects or {}
            if len(counts) > 100:  # the number is what such a test wants
                return [Stored(one, b"", {}, number) for number, one in enumerate(counts)]
            found: list[Stored] = []
            while len(found) < sum(counts.values()):
                after = found[-1].sequence if found else 0
                raw = await js.get_msg(stream, after + 1, subject=subject, next=True)
                assert raw.subject is not None
                assert raw.seq is not None
                found.append(Stored(raw.subject, raw.data or b"", raw.headers or {}, raw.seq))
            return found

        return held


async def kill(server_host: ServerHost, server: NatsServer) -> None:
    """SIGKILL, and wait until it is gone."""
    server.kill()
    await asyncio.to_thread(server_host.run, server.wait())


async def revive(server_host: ServerHost, server: NatsServer) -> None:
    """Start the server again on the same store and port."""
    await asyncio.to_thread(server_host.run, server.start())


async def test_a_follower_survives_kill_and_restart(
    own_nats_server: NatsServer, server_host: ServerHost
) -> None:
    project = scope()
    await provision_url(own_nats_server.url.get_secret_value())
    bus = NatsBus(own_nats_server.url, name="follower")
    await bus.start()
    async with (
        bus.follow("ZW_EVENTS", facts_of(project), after=0) as everything,
        bus.follow("ZW_EVENTS", facts_of(project)) as new,
    ):
        await bus.publish([fact(project, number) for number in range(10)])
        assert len(await take(everything, 4)) == 4  # six are on their way
        await kill(server_host, own_nats_server)
        await revive(server_host, own_nats_server)
        await eventually(lambda: bus.client.is_connected)
        await bus.publish([fact(project, number) for number in range(10, 15)])
        rest = await take(everything, 11)
        assert [int(message.data) for message in rest] == list(range(4, 15))
        assert [int(message.data) for message in await take(new, 15)] == list(range(15))
    await bus.stop()


async def test_a_follower_of_new_messages_that_saw_none_replays_nothing(
    own_nats_server: NatsServer, server_host: ServerHost
) -> None:
    project = scope()
    await provision_url(own_nats_server.url.get_secret_value())
    bus = NatsBus(own_nats_server.url, name="follower")
    await bus.start()
    await bus.publish([fact(project, 0)])
    async with bus.follow("ZW_EVENTS", facts_of(project)) as messages:
        await kill(server_host, own_nats_server)
        await revive(server_host, own_nats_server)
        await eventually(lambda: bus.client.is_connected)
        await bus.publish([fact(project, 1)])
        assert [message.data for message in await take(messages, 1)] == [b"1"]
    await bus.stop()


async def test_a_follower_goes_on_after_its_stream_was_made_anew(
    own_nats_server: NatsServer,
) -> None:
    project = scope()
    await provision_url(own_nats_server.url.get_secret_value())
    bus = NatsBus(own_nats_server.url, name="follower")
    await bus.start()
    await bus.publish([fact(project, number) for number in range(5)])
    async with bus.follow("ZW_EVENTS", facts_of(project)) as messages:
        await bus.jetstream.delete_stream("ZW_EVENTS")
        await provision(bus.jetstream)
        await bus.publish([fact(project, 5)])
        assert [message.data for message in await take(messages, 1)] == [b"5"]
    await bus.stop()


class Cable:
    """A connection to a server that a test can mute and cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._muted = False
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def lay(self) -> int:
        """The port to connect to."""
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def mute(self) -> None:
        """Swallow what the server says, as a network does before anybody notices."""
        self._muted = True

    async def cut(self) -> None:
        """End all connections; later ones work again."""
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.transport.abort()
        self._muted = False

    async def remove(self) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer, mutable=True))

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, mutable: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if not (mutable and self._muted):
                    target.write(data)
                    await target.drain()
        target.close()


async def test_a_follower_finds_what_a_broken_connection_swallowed(nats_url: str) -> None:
    project = scope()
    await provision_url(nats_url)
    address = urlsplit(nats_url)
    cable = Cable(address.port or 4222)
    port = await cable.lay()
    far = NatsBus(f"nats://{address.username}@127.0.0.1:{port}", name="far")
    near = NatsBus(nats_url, name="near")
    await far.start()
    await near.start()
    async with (
        far.follow("ZW_EVENTS", facts_of(project)) as messages,
        near.follow("ZW_EVENTS", facts_of(project)) as others,
    ):
        waiting = asyncio.ensure_future(take(messages, 2))
        await near.publish([fact(project, 1)])
        await take(others, 1)
        await eventually(lambda: far.client.stats["in_msgs"] > 3)
        cable.mute()
        await near.publish([fact(project, 2)])  # the last one: nothing after it shows a gap
        await take(others, 1)
        await cable.cut()
        assert [message.data for message in await waiting] == [b"1", b"2"]
    await far.stop()
    await near.stop()
    await cable.remove()


async def test_a_publish_without_a_server_fails_and_can_be_repeated(
    own_nats_server: NatsServer, server_host: ServerHost
) -> None:
    project = scope()
    await provision_url(own_nats_server.url.get_secret_value())
    bus = NatsBus(own_nats_server.url, name="publisher")
    await bus.start()
    batch = [fact(project, number) for number in range(3)]
    await kill(server_host, own_nats_server)
    with pytest.raises(BrokerUnavailable):
        await bus.publish(batch)  # its first message stays in the client's buffer
    await revive(server_host, own_nats_server)
    await eventually(lambda: bus.client.is_connected)
    await bus.publish(batch)
    async with bus.follow("ZW_EVENTS", facts_of(project), after=0) as messages:
        assert [int(message.data) for message in await take(messages, 3)] == [0, 1, 2]
    await bus.stop()


async def test_a_run_longer_than_a_batch_is_stored_whole(nats_url: str) -> None:
    project = scope()
    await provision_url(nats_url)
    bus = NatsBus(nats_url, name="long")
    await bus.start()
    await bus.publish([fact(project, number) for number in range(1203)])
    async with bus.follow("ZW_EVENTS", facts_of(project), after=0) as messages:
        assert [int(message.data) for message in await take(messages, 1203)] == list(range(1203))
    await bus.stop()


async def test_a_bus_that_is_not_started_says_so() -> None:
    bus = NatsBus("nats://127.0.0.1:1", name="idle")
    assert await bus.ready() == "not started"
    with pytest.raises(BrokerUnavailable):
        await bus.publish([fact("p", 1)])
    await bus.stop()
