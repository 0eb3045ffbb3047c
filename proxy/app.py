"""Builds the proxy process: routes, listener, operations."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError
from typing_extensions import override

from db.engine import Database
from db.queries.routes import routes_all
from events.connector import Connector
from events.guard import Watch
from events.nats_bus import NatsBus
from events.routes import CACHE_TABLE, Route
from events.streams import EVENTS
from proxy.edge import Edge
from proxy.feed import Feed
from proxy.limits import Limits
from proxy.pool import Upstreams
from proxy.server import Server
from proxy.state import Keeper, StateFile
from zeitwork import logs
from zeitwork.cache import Cache, RedisCache
from zeitwork.config import Settings
from zeitwork.opsserver import OpsServer
from zeitwork.service import Service, Supervisor, Worker

_log = logs.get(__name__)
_DRAIN_PART = 0.8


async def run(settings: Settings) -> int:
    """Run until a signal; the exit code. Broker and database may be away the whole time."""
    bus = NatsBus(settings.nats_url, name="proxy")
    database = Database(settings.database_url, application="proxy", pool_size=2)
    cache = RedisCache(settings.cache_url)
    # The goodbye to tunnels goes out while the instance is still there.
    limits = Limits(
        instance_drain_seconds=_DRAIN_PART * settings.drain_seconds,
        client_connections=settings.proxy.client_connections,
        client_rate=settings.proxy.client_rate,
        project_rate=settings.proxy.project_rate,
    )
    upstreams = Upstreams(limits)
    saved = StateFile(settings.data_dir / "proxy" / "routes.json")
    keeper = Keeper(saved)
    source = RouteSource(database, cache)
    feed = Feed(
        bus,
        source.load,
        cached=source.cached,
        saved=saved,
        keep=keeper.save,
        changed=[lambda table: upstreams.table_changed(table, None)],
    )
    edge = Edge(feed, upstreams, limits)
    listener = Server(
        edge,
        host=settings.proxy.host,
        port=settings.proxy.port,
        reuse_port=settings.proxy.reuse_port,
    )
    watch = _Watch(bus, streams=[EVENTS], replicas=settings.nats_replicas)
    services: list[Service] = [_Connector(bus), watch, keeper, feed, listener]
    supervisor = Supervisor(services)
    ops = OpsServer(
        host=settings.proxy.ops_host, port=settings.proxy.ops_port, ready=supervisor.ready
    )
    services.insert(0, ops)
    try:
        return await supervisor.run()
    finally:
        await database.stop()
        await cache.stop()


class RouteSource:
    """Reads routes: all of them from the database, or what the shared cache holds."""

    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache

    async def load(self) -> Sequence[Route]:
        """The whole table.

        Raises:
            DatabaseUnavailable: the database is away.
        """
        async with self._database.read() as session:
            return await routes_all(session)

    async def cached(self) -> Sequence[Route]:
        """What the cache holds, be it old or incomplete.

        Raises:
            CacheUnavailable: the cache is away.
        """
        routes = []
        for host, record in (await self._cache.records(CACHE_TABLE)).items():
            try:
                routes.append(Route.model_validate_json(record))
            except ValidationError as error:
                _log.warning("cached route not understood", host=host, errors=error.error_count())
        return routes


class _Connector(Connector):
    """A proxy is ready without a broker: visitors are served from the last table."""

    @override
    async def ready(self) -> str | None:
        return await Worker.ready(self)


class _Watch(Watch):
    """See `_Connector`."""

    @override
    async def ready(self) -> str | None:
        return await Worker.ready(self)
