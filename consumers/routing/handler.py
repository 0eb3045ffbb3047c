"""Keeps routing_cache: points a host at the ready instances of what serves, then lets go the rest.

Every event only says which environment to look at. Instances of ended deployments are drained
here, after the routes have left them, never before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from consumers.outcomes import Done, Outcome
from consumers.routing.table import Backend, targets
from db.queries.deployments import deployment_active
from db.queries.instances import (
    instance_drain,
    instance_find_by_deployment,
    instances_to_drain,
)
from db.queries.projects import environment_lock
from db.queries.routes import routing_cache_upsert
from db.session import Transaction
from events.deployments import DeploymentFact
from events.event import Event
from events.instances import InstanceFact
from events.projects import ProjectCreated
from events.routes import RouteChanged
from zeitwork import clock

RoutingFact = DeploymentFact | InstanceFact | ProjectCreated


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


async def settle(tx: Transaction, environment_id: str, *, drain: timedelta, told: int = 0) -> None:
    """Make the environment's route what its rows say, and drain what serves no more.

    Args:
        drain: see `look`.
        told: see `routing_cache_upsert`; only a rebuild need care.
    """
    environment = await environment_lock(tx.session, environment_id)
    active = await deployment_active(tx.session, environment_id)
    backends = (
        [
            Backend(instance.id, instance.state, instance.host, instance.port)
            for instance in await instance_find_by_deployment(tx.session, active.id)
        ]
        if active is not None
        else []
    )
    route = await routing_cache_upsert(
        tx.session,
        environment,
        deployment_id=active.id if active is not None else None,
        targets=targets(backends),
        told=told,
    )
    if route is not None:
        tx.emit(
            RouteChanged(environment_id=environment_id, route=route),
            subject=environment_id,
            version=route.version,
            organisation_id=environment.organisation_id,
            project_id=environment.project_id,
        )
    for instance in await instances_to_drain(tx.session, environment_id):
        instance_drain(tx, instance, stop_after=clock.now() + drain)
