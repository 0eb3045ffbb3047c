"""Environments: places where one version of a project serves."""

from __future__ import annotations

from enum import StrEnum

from events.event import Event


class EnvironmentKind(StrEnum):
    """What an environment is for."""

    PRODUCTION = "production"
    CUSTOM = "custom"
    PREVIEW = "preview"


class EnvironmentFact(Event):
    """What every event about an environment says."""

    environment_id: str


class EnvironmentCreated(EnvironmentFact, type="environment.created"):
    """Its host is known from now on; nothing serves there yet."""

    project_id: str
    kind: EnvironmentKind


class EnvironmentClosing(EnvironmentFact, type="environment.closing"):
    """Nothing is to serve there any more; it goes once its instances have stopped."""

    reason: str


class EnvironmentRemoved(EnvironmentFact, type="environment.removed"):
    """Nothing of it is left but this event."""

    project_id: str
