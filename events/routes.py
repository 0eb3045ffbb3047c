"""Routes: which instances serve a host."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

from events.event import Event

CACHE_TABLE: Final = "routes"


class Target(BaseModel):
    """One ready instance, where the proxy reaches it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    instance_id: str
    host: str
    port: int


class Route(BaseModel):
    """One host's row of the routing table, replaced whole; `version` only grows.

    No targets means: the host is known, but nothing can serve it now (503).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    version: int
    project_id: str
    deployment_id: str | None
    targets: tuple[Target, ...]


class RouteChanged(Event, type="route.changed"):
    """A host's targets changed; the whole new row."""

    environment_id: str
    route: Route


class RouteRemoved(Event, type="route.removed"):
    """A host is unknown from now on."""

    environment_id: str
    host: str
    version: int
