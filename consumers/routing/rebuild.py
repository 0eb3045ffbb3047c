"""Recomputes routing_cache from environments, deployments and instances."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from consumers.routing.difference import Difference, Row, difference
from consumers.routing.handler import route_remove, settle
from consumers.routing.table import Backend, hosts, targets
from db.models import RoutingCache
from db.queries.routes import (
    RouteSource,
    route_sources,
    routes_all,
    routes_told,
    routing_cache_rows,
)
from db.session import UnitOfWork
from events.operation_params import RebuildRoutingParams
from events.routes import CACHE_TABLE
from zeitwork.cache import Cache


class RoutingRebuilder:
    """Runs operations of kind `rebuild-routing`."""

    def __init__(self, work: UnitOfWork, *, cache: Cache, drain_seconds: float) -> None:
        self._work = work
        self._cache = cache
        self._drain = timedelta(seconds=drain_seconds)

    async def run(self, _operation_id: str, params: RebuildRoutingParams) -> dict[str, Any]:
        """The difference; with `apply` it is written, each host in a transaction of its own.

        Raises:
            CacheUnavailable: routing_cache is right, but removed hosts may be in the shared cache.
        """
        async with self._work.database.read() as session:
            sources = await route_sources(session)
            told = await routes_told(session, [source.environment.id for source in sources])
            rows = await routing_cache_rows(session)
        found = difference(
            [
                _wanted(source, host, told.get(host, 0))
                for host, source in _by_host(sources).items()
            ],
            [_present(row) for row in rows],
        )
        if params.apply:
            await self._apply(found, sources)
        return {"applied": params.apply, **found.document()}

    async def _apply(self, found: Difference, sources: Sequence[RouteSource]) -> None:
        environments = {host: source.environment.id for host, source in _by_host(sources).items()}
        for host in [*found.added, *found.changed]:
            async with self._work.transaction() as tx:
                told = await routes_told(tx.session, [environments[host]])
                await settle(tx, environments[host], drain=self._drain, told=told)
        for host in found.removed:
            async with self._work.transaction() as tx:
                await route_remove(tx, host)
        if found.removed:
            await self._renew_cache()

    async def _renew_cache(self) -> None:
        """The shared cache forgets hosts only as a whole."""
        async with self._work.database.read() as session:
            routes = await routes_all(session)
        await self._cache.clear(CACHE_TABLE)
        for route in routes:
            value = route.model_dump_json().encode()
            await self._cache.put(CACHE_TABLE, route.host, version=route.version, value=value)


def _present(row: RoutingCache) -> Row:
    return Row(
        host=row.host,
        environment_id=row.environment_id,
        project_id=row.project_id,
        deployment_id=row.deployment_id,
        targets=row.targets,
        version=row.version,
    )


def _by_host(sources: Sequence[RouteSource]) -> dict[str, RouteSource]:
    return {
        host: source
        for source in sources
        for host in hosts(
            source.environment.host,
            commit=source.active.host if source.active is not None else None,
        )
    }


def _wanted(source: RouteSource, host: str, told: int) -> Row:
    backends = [Backend(each.id, each.state, each.host, each.port) for each in source.instances]
    return Row(
        host=host,
        environment_id=source.environment.id,
        project_id=source.environment.project_id,
        deployment_id=source.active.id if source.active is not None else None,
        targets=[target.model_dump() for target in targets(backends)],
        version=told,
    )
