"""What asks for deployments, and the work of finding the commits of those that give a name."""

from __future__ import annotations

from enum import StrEnum

from events.event import Event


class TriggerKind(StrEnum):
    """What asked for a deployment."""

    PUSH = "push"
    PULL_REQUEST = "pull_request"
    MANUAL = "manual"
    HOOK = "hook"


class DeployRequested(Event, type="deploy.requested"):
    """Work: find the commit of a branch or tag and deploy it. The row holds the details."""

    trigger_id: str
