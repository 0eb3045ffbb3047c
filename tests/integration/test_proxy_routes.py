"""Where the proxy gets its routes: real database, broker and cache, each of which may be away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cli.embedded.nats import NatsServer
from db.engine import Database
from db.queries.routes import routing_cache_upsert
from db.session import UnitOfWork
from events import subjects
from events.bus import Message
from events.envelope import wrap
from events.nats_bus import NatsBus
from events.routes import CACHE_TABLE, Route, RouteChanged, RouteRemoved, Target
from events.topology import provision_url
from proxy.app import RouteSource
from proxy.feed import Feed
from proxy.state import StateFile
from proxy.table import RoutingTable
from tests.support.edge import ask, get
from tests.support.edge_process import NOWHERE, proxy_process
from tests.support.eventually import eventually
from tests.support.factories import Site, add_site
from tests.support.servers import ServerHost, free_port
from tests.support.upstreams import instance, saying
from zeitwork.cache import RedisCache
from zeitwork.errors import CacheUnavailable, DatabaseUnavailable


def row(host: str, version: int, *targets: Target) -> Route:
    return Route(
        host=host, version=version, project_id="prj_1", deployment_id=None, targets=targets
    )


async def save(work: UnitOfWork, site: Site, port: int) -> Route:
    """Point the site at this port, in the database only."""
    async with work.transaction() as tx:
        target = Target(instance_id="ins_1", host="127.0.0.1", port=port)
        route = await routing_cache_upsert(
            tx.session, site.environment, deployment_id=None, targets=[target]
        )
    assert route is not None
    return route


def told(event: RouteChanged | RouteRemoved) -> Message:
    """The event as the relay publishes it."""
    envelope = wrap(event, subject="env_1", source="test")
    return Message.of(envelope, subjects.of(envelope))


def changed(route: Route) -> Message:
    return told(RouteChanged(environment_id="env_1", route=route))


@asynccontextmanager
async def feeding(bus: NatsBus, load: Any, directory: Path) -> AsyncIterator[Feed]:
    """A feed that reloads only when it has a reason to."""
    feed = Feed(
        bus,
        load,
        cached=_nothing,
        saved=StateFile(directory / "routes.json"),
        keep=_ignore,
        reload_seconds=3600,
    )
    await feed.start()
    try:
        yield feed
    finally:
        await feed.stop()


@pytest.fixture
def own_server(server_host: ServerHost, tmp_path: Path) -> Iterator[NatsServer]:
    """A server that the test may kill."""
    with server_host.running(
        lambda: NatsServer(tmp_path / "nats", port=free_port(), monitor_port=free_port())
    ) as server:
        yield server


@pytest.fixture
async def nats(nats_url: str) -> AsyncIterator[NatsBus]:
    await provision_url(nats_url)
    bus = NatsBus(nats_url, name="proxy")
    await bus.start()
    yield bus
    await bus.stop()


async def test_the_table_is_loaded_and_then_follows_events(
    nats: NatsBus, database: Database, work: UnitOfWork, tmp_path: Path
) -> None:
    site = await add_site(work)
    route = await save(work, site, 1001)
    source = RouteSource(database, RedisCache(SecretStr(f"redis://{NOWHERE}/0")))
    async with feeding(nats, source.load, tmp_path) as feed:
        await eventually(lambda: feed.table.row(route.host) == route)
        assert await feed.ready() is None

        first = route.version
        newer = route.model_copy(update={"version": first + 5})
        older = route.model_copy(update={"version": first + 4, "targets": ()})
        marker = row("marker.test", 1)
        await nats.publish([changed(newer), changed(older), changed(marker)])
        await eventually(lambda: feed.table.row("marker.test"))
        assert feed.table.row(route.host) == newer

        gone = RouteRemoved(environment_id="env_1", host=route.host, version=first + 6)
        await nats.publish([told(gone), changed(newer), changed(row("marker.test", 2))])
        await eventually(lambda: feed.table.find("marker.test") == row("marker.test", 2))
        assert feed.table.row(route.host) is None


async def test_an_event_that_is_not_understood_makes_the_table_load_again(
    nats: NatsBus, database: Database, work: UnitOfWork, tmp_path: Path
) -> None:
    site = await add_site(work)
    before = await save(work, site, 1001)
    source = RouteSource(database, RedisCache(SecretStr(f"redis://{NOWHERE}/0")))
    async with feeding(nats, source.load, tmp_path) as feed:
        await eventually(lambda: feed.table.row(before.host) == before)
        after = await save(work, site, 1002)
        sound = changed(after)
        await nats.publish([Message(sound.subject, b"not an event", {}, "broken-1-" + after.host)])
        await eventually(lambda: feed.table.row(after.host) == after)


async def test_events_go_on_when_a_killed_broker_is_back(
    own_server: NatsServer, server_host: ServerHost, tmp_path: Path
) -> None:
    url = own_server.url.get_secret_value()
    await provision_url(url)
    bus = NatsBus(url, name="proxy")
    await bus.start()
    try:
        async with feeding(bus, _nothing, tmp_path) as feed:
            await eventually(lambda: feed.loaded)
            await bus.publish([changed(row("a.test", 1))])
            await eventually(lambda: feed.table.row("a.test"))
            own_server.kill()
            await asyncio.to_thread(server_host.run, own_server.wait())
            assert feed.table.row("a.test")
            assert await feed.ready() is None
            await asyncio.to_thread(server_host.run, own_server.start())
            await eventually(lambda: _published(bus, row("a.test", 2)), timeout=30)
            await eventually(lambda: feed.table.row("a.test") == row("a.test", 2), timeout=30)
    finally:
        await bus.stop()


async def test_a_database_that_comes_back_is_read_soon(
    nats: NatsBus, database: Database, work: UnitOfWork, tmp_path: Path
) -> None:
    route = await save(work, await add_site(work), 1001)
    away = Database(SecretStr(f"postgresql://u:p@{NOWHERE}/x"), application="test")
    cache = RedisCache(SecretStr(f"redis://{NOWHERE}/0"))
    source, attempts = [RouteSource(away, cache)], []

    async def load() -> Any:
        attempts.append(1)
        return await source[0].load()

    async with feeding(nats, load, tmp_path) as feed:
        await eventually(lambda: attempts)
        assert feed.table.row(route.host) is None
        assert str(await feed.ready()).startswith("no routing table yet")
        source[0] = RouteSource(database, cache)
        await eventually(lambda: feed.table.row(route.host) == route)
    await away.stop()


async def test_the_cache_gives_what_it_has_and_skips_what_it_garbled(cache_url: str) -> None:
    away = Database(SecretStr(f"postgresql://u:p@{NOWHERE}/x"), application="test")
    cache = RedisCache(SecretStr(cache_url))
    source = RouteSource(away, cache)
    await cache.clear(CACHE_TABLE)
    try:
        with pytest.raises(DatabaseUnavailable):
            await source.load()
        assert await source.cached() == []
        sound = row("a.test", 3)
        await cache.put(CACHE_TABLE, "a.test", version=3, value=sound.model_dump_json().encode())
        await cache.put(CACHE_TABLE, "b.test", version=1, value=b'{"host": 7}')
        assert await source.cached() == [sound]
        with pytest.raises(CacheUnavailable):
            await RouteSource(away, RedisCache(SecretStr(f"redis://{NOWHERE}/0"))).cached()
    finally:
        await cache.clear(CACHE_TABLE)
        await cache.stop()
        await away.stop()


async def test_a_process_starts_from_its_disk_and_serves_while_everything_is_away(
    tmp_path: Path,
) -> None:
    async with instance(saying(b"served")) as one:
        StateFile(tmp_path / "proxy" / "routes.json").write([row("a.test", 7, one.target)])
        async with proxy_process(tmp_path) as (port, ops):
            assert (await ask(port, get())).body == b"served"
            assert (await ask(port, get(host="b.test"))).status == 404
            assert (await ask(ops, get("/readyz"))).status == 200
        saved = StateFile(tmp_path / "proxy" / "routes.json").read()
        assert saved == [row("a.test", 7, one.target)]


@pytest.mark.parametrize("snapshot", [None, b"\x00\xff garbage"])
async def test_a_process_that_knows_nothing_serves_a_page_and_is_not_ready(
    tmp_path: Path, snapshot: bytes | None
) -> None:
    if snapshot is not None:
        (tmp_path / "proxy").mkdir()
        (tmp_path / "proxy" / "routes.json").write_bytes(snapshot)
    async with proxy_process(tmp_path) as (port, ops):
        page = await ask(port, get())
        assert (page.status, page.head.one("x-zeitwork-error")) == (503, "edge_starting")
        assert (await ask(ops, get("/readyz"))).status == 503
        assert (await ask(ops, get("/livez"))).status == 200


async def _published(bus: NatsBus, route: Route) -> bool:
    if await bus.ready() is not None:
        return False
    await bus.publish([changed(route)])
    return True


async def _nothing() -> list[Route]:
    return []


def _ignore(_table: RoutingTable) -> None:
    """Nobody keeps these tables."""
