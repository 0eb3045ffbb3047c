"""Deployments: the moves of a version of an environment."""

from __future__ import annotations

from enum import StrEnum

from events.event import Event


class NewerCommit(StrEnum):
    """What a newer commit of an environment does to the builds of older ones."""

    CANCEL = "cancel"  # they end, queued or running
    QUEUE = "queue"  # it waits until they have ended
    ALL = "all"  # they all run


class DeploymentFact(Event):
    """What every deployment event says."""

    deployment_id: str
    environment_id: str
    number: int


class DeploymentCreated(DeploymentFact, type="deployment.created"):
    """A commit is to be deployed."""

    commit_sha: str
    ref: str


class DeploymentBuilding(DeploymentFact, type="deployment.building"):
    """Its build runs."""


class DeploymentDeploying(DeploymentFact, type="deployment.deploying"):
    """Its artifact exists; instances are wanted."""


class DeploymentActivated(DeploymentFact, type="deployment.activated"):
    """Enough instances are ready; the routes are to point at it."""


class DeploymentSuperseded(DeploymentFact, type="deployment.superseded"):
    """A newer deployment took its place."""


class DeploymentFailed(DeploymentFact, type="deployment.failed"):
    """It will never serve; the previous version still does."""

    code: str
    detail: str


class DeploymentCancelled(DeploymentFact, type="deployment.cancelled"):
    """A newer commit or a person stopped it before it served."""


class DeploymentStopped(DeploymentFact, type="deployment.stopped"):
    """A person stopped it; nothing serves in its place."""
