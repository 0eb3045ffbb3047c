"""Keeps routing_cache: points hosts at the ready instances of what serves, then lets go the rest.

Every event only says which environment to look at. Instances of ended deployments are drained
here, after the routes have left them, never before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from types import MappingProxyType

from consumers.outcomes import Done, Outcome
from consumers.routing.table import Backend, hosts, targets
from db.models import Environment
from db.queries.deployments import deployment_active
from db.queries.instances import (
    instance_drain,
    instance_find_by_deployment,
    instances_to_drain,
)
from db.queries.projects import environment_lock_if_there
from db.queries.routes import routing_cache_of, routing_cache_remove, routing_cache_upsert
from db.session import Transaction
from events.deployments import DeploymentFact
from events.environments import EnvironmentClosing, EnvironmentCreated
from events.event import Event
from events.instances import InstanceFact, InstanceKind
from events.projects import ProjectCreated
from events.routes import RouteChanged, RouteRemoved
from zeitwork import clock

RoutingFact = (
    DeploymentFact | EnvironmentClosing | EnvironmentCreated | InstanceFact | ProjectCreated
)


def look(drain_seconds: float) -> Callable[[Transaction, Event], Awaitable[Outcome]]:
    """The handler of every fact that may change routes.

    Args:
        drain_seconds: how long an instance keeps running after its routes are gone; proxies hear
            of the change within milliseconds, requests in flight need the rest.
    """

    async def handle(tx: Transaction, event: Event) -> Outcome:
        assert isinstance(event, RoutingFact)  # noqa: S101 - bound so by the registry
        await settle(tx, event.environment_id, drain=timedelta(seconds=drain_seconds))
        return Done()

    return handle


async def settle(
    tx: Transaction,
    environment_id: str,
    *,
    drain: timedelta,
    told: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Make the environment's routes what its rows say, and drain what serves no more.

    Args:
        drain: see `look`.
        told: by host, see `routing_cache_upsert`; only a rebuild need care.
    """
    environment = await environment_lock_if_there(tx.session, environment_id)
    if environment is None:
        return  # it went after its last route had gone
    wanted: tuple[str, ...] = ()
    if environment.closing_at is None:
        wanted = await _point(tx, environment, told)
    for row in await routing_cache_of(tx.session, environment_id):
        if row.host not in wanted:
            await route_remove(tx, row.host)
    for instance in await instances_to_drain(tx.session, environment_id):
        rest = drain if instance.kind is InstanceKind.WEB else timedelta()
        instance_drain(tx, instance, stop_after=clock.now() + rest)


async def route_remove(tx: Transaction, host: str) -> None:
    """Forget a host, and say so."""
    row = await routing_cache_remove(tx.session, host)
    if row is None:
        return
    version = row.version + 1
    tx.emit(
        RouteRemoved(environment_id=row.environment_id, host=host, version=version),
        subject=row.environment_id,
        version=version,
        organisation_id=row.organisation_id,
        project_id=row.project_id,
    )


async def _point(
    tx: Transaction, environment: Environment, told: Mapping[str, int]
) -> tuple[str, ...]:
    """Point every host of the environment at what serves; these hosts."""
    active = await deployment_active(tx.session, environment.id)
    backends = (
        [
            Backend(instance.id, instance.state, instance.host, instance.port)
            for instance in await instance_find_by_deployment(
                tx.session, active.id, kind=InstanceKind.WEB
            )
        ]
        if active is not None
        else []
    )
    wanted = hosts(environment.host, commit=active.host if active is not None else None)
    for host in wanted:
        route = await routing_cache_upsert(
            tx.session,
            environment,
            host=host,
            deployment_id=active.id if active is not None else None,
            targets=targets(backends),
            told=told.get(host, 0),
        )
        if route is not None:
            tx.emit(
                RouteChanged(environment_id=environment.id, route=route),
                subject=environment.id,
                version=route.version,
                organisation_id=environment.organisation_id,
                project_id=environment.project_id,
            )
    return wanted
