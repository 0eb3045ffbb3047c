"""Variables of projects: names and places, never values."""

from __future__ import annotations

from enum import StrEnum

from events.event import Event


class VariableScope(StrEnum):
    """Where a variable counts. Of one name, a later scope in this list wins."""

    PROJECT = "project"
    PREVIEW = "preview"
    ENVIRONMENT = "environment"


class VariablePhase(StrEnum):
    """When it is there."""

    BUILD = "build"
    RUN = "run"
    BOTH = "both"


class VariableFact(Event):
    """What every event about a variable says; a change of its value makes another id."""

    variable_id: str
    project_id: str
    environment_id: str | None
    scope: VariableScope
    name: str


class VariableSet(VariableFact, type="variable.set"):
    """It has a value; deployments from now on get it."""

    phase: VariablePhase


class VariableUnset(VariableFact, type="variable.unset"):
    """It is gone; deployments from now on go without it."""


class VariableRevealed(VariableFact, type="variable.revealed"):
    """Somebody was shown its value."""
