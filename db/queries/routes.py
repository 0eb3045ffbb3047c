"""routing_cache: writing a host's row, reading the table."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Environment, RoutingCache
from events.routes import Route, Target
from zeitwork import clock


async def routing_cache_upsert(
    session: AsyncSession,
    environment: Environment,
    *,
    deployment_id: str | None,
    targets: Sequence[Target],
) -> Route | None:
    """Point a host at targets; the new row, or None when it says so already."""
    said = [target.model_dump() for target in targets]
    statement = insert(RoutingCache).values(
        host=environment.host,
        organisation_id=environment.organisation_id,
        project_id=environment.project_id,
        environment_id=environment.id,
        deployment_id=deployment_id,
        targets=said,
        version=1,
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
            "version": RoutingCache.version + 1,
            "updated_at": new.updated_at,
        },
        where=RoutingCache.targets.is_distinct_from(new.targets)
        | RoutingCache.deployment_id.is_distinct_from(new.deployment_id),
    ).returning(RoutingCache)
    row = (
        await session.execute(changed, execution_options={"populate_existing": True})
    ).scalar_one_or_none()
    return None if row is None else _route(row)


async def routes_all(session: AsyncSession) -> Sequence[Route]:
    """The whole table, by host."""
    rows = (await session.execute(select(RoutingCache).order_by(RoutingCache.host))).scalars()
    return [_route(row) for row in rows]


def _route(row: RoutingCache) -> Route:
    return Route(
        host=row.host,
        version=row.version,
        project_id=row.project_id,
        deployment_id=row.deployment_id,
        targets=tuple(Target.model_validate(target) for target in row.targets),
    )
