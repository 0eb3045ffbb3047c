"""The guard against a real server: what disappears comes back, where it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError
from pydantic import SecretStr
from structlog.testing import capture_logs

from cli.embedded.nats import NatsServer
from events import durability
from events.guard import Guard
from events.nats_bus import NatsBus
from events.streams import Durable, Stream
from tests.support.eventually import eventually
from tests.support.servers import ServerHost, free_port
from zeitwork import ids, metrics
from zeitwork.errors import BrokerUnavailable


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[NatsBus]:
    bus = NatsBus(nats_url, name="guard-test")
    await bus.start()
    yield bus
    await bus.stop()


@pytest.fixture
def stream() -> Stream:
    name = f"T_{ids.token(6)}"
    return Stream(name, "of a test", (f"{name}.>",))


def durable_of(stream: Stream) -> Durable:
    return Durable(f"d-{ids.token(6)}", "of a test", stream.name, (f"{stream.name}.>",))


async def handle(bus: NatsBus, durable: Durable, count: int) -> list[bytes]:
    """Take and acknowledge messages."""
    pull = await bus.jetstream.pull_subscribe_bind(durable.name, durable.stream)
    seen: list[bytes] = []
    while len(seen) < count:
        for message in await pull.fetch(count - len(seen), timeout=10):
            await message.ack_sync()
            seen.append(message.data)
    await pull.unsubscribe()
    return seen


async def fill(bus: NatsBus, stream: Stream, *numbers: int) -> None:
    for number in numbers:
        await bus.jetstream.publish(f"{stream.name}.x", b"%d" % number)


async def test_a_durable_comes_back_behind_what_it_has_handled(
    bus: NatsBus, stream: Stream
) -> None:
    durable = durable_of(stream)
    guard = Guard(bus, streams=[stream], durables=[durable])
    await guard.start()
    await fill(bus, stream, 1, 2, 3)
    await handle(bus, durable, 2)
    await guard.look()
    await bus.jetstream.delete_consumer(stream.name, durable.name)
    await guard.look()
    assert await handle(bus, durable, 1) == [b"3"]
    assert await guard.ready() is None
    await guard.look()  # where it began is no drift
    await guard.stop()


async def test_a_running_guard_notices_by_itself(bus: NatsBus, stream: Stream) -> None:
    durable = durable_of(stream)
    guard = Guard(bus, streams=[stream], durables=[durable])

    def restored() -> float:
        return metrics.REGISTRY.get_sample_value("zeitwork_topology_restored_total") or 0.0

    before = restored()
    await guard.start()
    await bus.jetstream.delete_stream(stream.name)

    async def is_back() -> bool:
        try:
            await bus.jetstream.consumer_info(stream.name, durable.name)
        except NotFoundError:
            return False
        return True

    await eventually(is_back)
    await eventually(lambda: restored() == before + 2)
    await guard.stop()


async def test_a_position_means_nothing_in_a_stream_that_was_made_anew(
    bus: NatsBus, stream: Stream
) -> None:
    """Another process restores the stream first; ours must not skip what came in since."""
    durable = durable_of(stream)
    mine = Guard(bus, streams=[stream], durables=[durable])
    await mine.start()
    await fill(bus, stream, 1, 2, 3)
    await handle(bus, durable, 3)
    await mine.look()
    await bus.jetstream.delete_stream(stream.name)
    theirs = Guard(bus, streams=[stream])
    await theirs.start()
    await fill(bus, stream, 10, 11)
    await mine.look()
    assert await handle(bus, durable, 2) == [b"10", b"11"]
    await theirs.stop()
    await mine.stop()


async def test_two_guards_restore_together(nats_url: str, bus: NatsBus, stream: Stream) -> None:
    durable = durable_of(stream)
    guards = [Guard(bus, streams=[stream], durables=[durable]) for _ in range(3)]
    for guard in guards:
        await guard.start()
    await bus.jetstream.delete_stream(stream.name)
    for guard in guards:
        await guard.look()
    for guard in guards:
        assert await guard.ready() is None
        await guard.stop()


async def test_the_embedded_server_has_messages_on_disk(nats_monitor_url: str) -> None:
    assert await durability.why_not_durable(nats_monitor_url) is None


class LazyServer(NatsServer):
    """As nats-server comes: fsync every two minutes."""

    configuration = NatsServer.configuration.replace("  sync_interval: always\n", "")


async def test_a_server_that_fsyncs_late_is_found_out(
    server_host: ServerHost, tmp_path: Path
) -> None:
    with server_host.running(
        lambda: LazyServer(tmp_path, port=free_port(), monitor_port=free_port())
    ) as server:
        reason = await durability.why_not_durable(server.monitor_url)
        with capture_logs() as said:
            await durability.warn(SecretStr(server.monitor_url))
    assert [line["event"] for line in said] == ["broker can lose acknowledged events"]
    assert reason is not None
    assert "every 120 s" in reason
    assert "sync_interval: always" in reason


async def test_a_monitor_that_is_away_is_said() -> None:
    away = "http://127.0.0.1:1"
    with pytest.raises(BrokerUnavailable):
        await durability.why_not_durable(away)
    with capture_logs() as said:
        await durability.warn(SecretStr(away))
        await durability.warn(None)
    assert [(line["log_level"], line["event"]) for line in said] == [
        ("warning", "broker durability unknown"),
        ("warning", "broker durability unchecked"),
    ]


async def test_a_durable_broker_is_no_news(nats_monitor_url: str) -> None:
    with capture_logs() as said:
        await durability.warn(SecretStr(nats_monitor_url))
    assert said == []
