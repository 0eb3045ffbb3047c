"""Builds the proxy process: routes, listener, operations."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError
from typing_extensions import override

from db.engine import Database
from db.queries.routes import routes_all
from events.nats_bus import NatsBus
from events.routes import CACHE_TABLE, Route
from proxy.edge import Edge
from proxy.feed import Feed
from proxy.limits import Limits
from proxy.pool import Upstreams
from proxy.server import Server
from proxy.state import Keeper, StateFile
from zeitwork import clock, logs
from zeitwork.cache import Cache, RedisCache
from zeitwork.config import Settings
from zeitwork.errors import BrokerUnavailable
from zeitwork.opsserver import OpsServer
from zeitwork.service import Service, Supervisor, Worker

_log = logs.get(__name__)
_RETRY_SECONDS = 1.0


async def run(settings: Settings) -> int:
    """Run until a signal; the exit code. Broker and database may be away the whole time."""
    bus = NatsBus(settings.nats_url, name="proxy")
    database = Database(settings.database_url, application="proxy", pool_size=2)
    cache = RedisCache(settings.cache_url)
    limits = Limits()
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
    services: list[Service] = [_Connecting(bus), keeper, feed, listener]
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


class _Connecting(Worker):
    """Connects the bus in the background: visitors are served without it meanwhile."""

    name = "bus"

    def __init__(self, bus: NatsBus) -> None:
        super().__init__()
        self._bus = bus

    @override
    async def run(self) -> None:
        while True:
            try:
                await self._bus.start()
            except BrokerUnavailable as error:
                _log.warning("no broker yet", detail=error.message)
                await clock.sleep(clock.jitter(_RETRY_SECONDS))
            else:
                return

    @override
    async def stop(self) -> None:
        await super().stop()
        await self._bus.stop()
