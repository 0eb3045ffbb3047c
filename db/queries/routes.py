"""routing_cache: writing a host's row, reading the table, and what it should say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Deployment, Environment, EventLog, Instance, RoutingCache
from events.instances import InstanceKind
from events.routes import Route, RouteChanged, RouteRemoved, Target
from events.states import DeploymentState
from zeitwork import clock


@dataclass(frozen=True, slots=True)
class RouteSource:
    """What the routes of one environment follow from: what serves, and its instances."""

    environment: Environment
    active: Deployment | None
    instances: Sequence[Instance]


async def routing_cache_upsert(
    session: AsyncSession,
    environment: Environment,
    *,
    host: str | None = None,
    deployment_id: str | None,
    targets: Sequence[Target],
    told: int = 0,
) -> Route | None:
    """Point a host at targets; the new row, or None when it says so already.

    A new row's version is the time, in milliseconds: proxies remember the version of a host that
    was removed, and one that comes again must be above it.

    Args:
        host: one of the environment's; its own by default.
        told: the newest version that the proxies may know; a row that lies behind it is renewed.
    """
    said = [target.model_dump() for target in targets]
    statement = insert(RoutingCache).values(
        host=host or environment.host,
        organisation_id=environment.organisation_id,
        project_id=environment.project_id,
        environment_id=environment.id,
        deployment_id=deployment_id,
        targets=said,
        version=max(told, int(clock.now().timestamp() * 1000)) + 1,
        updated_at=clock.now(),
    )
    new = statement.excluded
    changed = statement.on_conflict_do_update(
        index_elements=[RoutingCache.host],
        set_={
            "organisation_id": new.organisation_id,
            "project_id": new.project_id,
            "environment_id": new.environment_id,
            "deployment_id": new.deployment_id,
            "targets": new.targets,
            "version": func.greatest(RoutingCache.version, told) + 1,
            "updated_at": new.updated_at,
        },
        where=RoutingCache.targets.is_distinct_from(new.targets)
        | RoutingCache.deployment_id.is_distinct_from(new.deployment_id)
        | RoutingCache.environment_id.is_distinct_from(new.environment_id)
        | RoutingCache.project_id.is_distinct_from(new.project_id)
        | (RoutingCache.version < told),
    ).returning(RoutingCache)
    row = (
        await session.execute(changed, execution_options={"populate_existing": True})
    ).scalar_one_or_none()
    return None if row is None else _route(row)


async def routing_cache_remove(session: AsyncSession, host: str) -> RoutingCache | None:
    """Forget a host; the row that it had."""
    statement = delete(RoutingCache).where(RoutingCache.host == host).returning(RoutingCache)
    return (await session.execute(statement)).scalar_one_or_none()


async def routing_cache_of(session: AsyncSession, environment_id: str) -> Sequence[RoutingCache]:
    query = (
        select(RoutingCache)
        .where(RoutingCache.environment_id == environment_id)
        .order_by(RoutingCache.host)
    )
    return (await session.execute(query)).scalars().all()


async def route_sources(session: AsyncSession) -> Sequence[RouteSource]:
    """Every environment that is not being removed, with what its routes follow from."""
    kept = select(Environment).where(Environment.closing_at.is_(None)).order_by(Environment.id)
    environments = (await session.execute(kept)).scalars()
    serving = select(Deployment).where(Deployment.state == DeploymentState.ACTIVE)
    active = {each.environment_id: each for each in (await session.execute(serving)).scalars()}
    running: dict[str, list[Instance]] = {each.id: [] for each in active.values()}
    owned = (
        select(Instance)
        .where(Instance.deployment_id.in_(running), Instance.kind == InstanceKind.WEB)
        .order_by(Instance.id)
    )
    for instance in (await session.execute(owned)).scalars():
        running[instance.deployment_id].append(instance)
    return [
        RouteSource(each, found, running[found.id] if found is not None else [])
        for each in environments
        for found in [active.get(each.id)]
    ]


async def routes_told(session: AsyncSession, environment_ids: Sequence[str]) -> dict[str, int]:
    """The newest version that was told of each of these environments' hosts, as the log has it."""
    types = [RouteChanged.event_type, RouteRemoved.event_type]
    said = func.convert_from(EventLog.payload, "UTF8").cast(JSONB)
    host = func.coalesce(said["host"].astext, said["route"]["host"].astext)
    query = (
        select(host, func.max(EventLog.aggregate_version))
        .where(EventLog.aggregate_id.in_(environment_ids), EventLog.type.in_(types))
        .group_by(host)
    )
    return {row[0]: row[1] for row in await session.execute(query)}


async def routes_all(session: AsyncSession) -> Sequence[Route]:
    """The whole table, by host."""
    return [_route(row) for row in await routing_cache_rows(session)]


async def routing_cache_rows(session: AsyncSession) -> Sequence[RoutingCache]:
    """The rows as they are, whatever somebody may have written into them."""
    query = select(RoutingCache).order_by(RoutingCache.host)
    return (await session.execute(query)).scalars().all()


def _route(row: RoutingCache) -> Route:
    return Route(
        host=row.host,
        version=row.version,
        project_id=row.project_id,
        deployment_id=row.deployment_id,
        targets=tuple(Target.model_validate(target) for target in row.targets),
    )
