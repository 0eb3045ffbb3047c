"""A proxy process and its broker: away at the start, there later, and without its stream."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cli.embedded.nats import NatsServer
from events import subjects, topology
from events.bus import Message
from events.envelope import wrap
from events.nats_bus import NatsBus
from events.routes import Route, RouteChanged, Target
from events.streams import EVENTS
from proxy.state import StateFile
from tests.support.edge import ask, get
from tests.support.edge_process import proxy_process
from tests.support.eventually import eventually
from tests.support.servers import ServerHost
from tests.support.upstreams import instance, saying
from zeitwork.errors import BrokerUnavailable


def route(host: str, *targets: Target) -> Route:
    return Route(host=host, version=1, project_id="prj_1", deployment_id=None, targets=targets)


async def tell(bus: NatsBus, said: Route) -> None:
    """As the relay does, which waits for its stream."""
    envelope = wrap(RouteChanged(environment_id="env_1", route=said), subject="env_1", source="t")
    message = Message.of(envelope, subjects.of(envelope))

    async def stored() -> bool:
        try:
            await bus.publish([message])
        except BrokerUnavailable:
            return False
        return True

    await eventually(stored, timeout=30)


async def test_a_proxy_serves_from_its_disk_until_nats_comes_and_then_hears_of_changes(
    own_nats_server: NatsServer, server_host: ServerHost, tmp_path: Path
) -> None:
    own_nats_server.kill()
    await asyncio.to_thread(server_host.run, own_nats_server.wait())
    url = own_nats_server.url.get_secret_value()
    async with instance(saying(b"served")) as one:
        StateFile(tmp_path / "proxy" / "routes.json").write([route("a.test", one.target)])
        async with proxy_process(tmp_path, nats_url=url) as (port, ops):
            assert (await ask(port, get())).body == b"served"
            assert (await ask(ops, get("/readyz"))).status == 200

            await asyncio.to_thread(server_host.run, own_nats_server.start())
            await _hears_of(url, port, route("b.test", one.target))


async def test_a_proxy_makes_its_stream_anew_and_hears_of_changes_again(
    own_nats_url: str, tmp_path: Path
) -> None:
    """Nobody else is there to do it."""
    async with instance(saying(b"served")) as one, topology.jetstream(own_nats_url) as js:
        StateFile(tmp_path / "proxy" / "routes.json").write([route("a.test", one.target)])
        async with proxy_process(tmp_path, nats_url=own_nats_url) as (port, ops):
            await _hears_of(own_nats_url, port, route("b.test", one.target))

            await js.delete_stream(EVENTS.name)

            await _hears_of(own_nats_url, port, route("c.test", one.target))
            assert await topology.plan(js, streams=[EVENTS], durables=[]) == []
            assert (await ask(port, get())).body == b"served"
            assert (await ask(ops, get("/readyz"))).status == 200


async def test_a_proxy_whose_consumer_was_deleted_hears_of_changes_again(
    own_nats_url: str, tmp_path: Path
) -> None:
    async with (
        instance(saying(b"served")) as one,
        topology.jetstream(own_nats_url) as js,
        proxy_process(tmp_path, nats_url=own_nats_url) as (port, _),
    ):
        await _hears_of(own_nats_url, port, route("b.test", one.target))
        for consumer in await js.consumers_info(EVENTS.name):
            await js.delete_consumer(EVENTS.name, consumer.name)
        await _hears_of(own_nats_url, port, route("c.test", one.target))


async def _hears_of(url: str, port: int, said: Route) -> None:
    """A change that is told once is served: the proxy's stream and its follower are there."""
    bus = NatsBus(url, name="test")
    await bus.start()
    try:
        await eventually(lambda: _followers(bus), timeout=30)
        await tell(bus, said)
    finally:
        await bus.stop()

    async def served() -> bool:
        return (await ask(port, get(host=said.host))).body == b"served"

    await eventually(served, timeout=30)


async def _followers(bus: NatsBus) -> bool:
    """Somebody follows the stream."""
    absent = await topology.missing(bus.jetstream, streams=[EVENTS], durables=[])
    return not absent and bool(await bus.jetstream.consumers_info(EVENTS.name))
