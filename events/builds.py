"""Builds: the command to build, and what came of it."""

from __future__ import annotations

from events.event import Event


class BuildRequested(Event, type="build.requested"):
    """Work: turn a commit into an artifact. The row holds the details."""

    build_id: str
    deployment_id: str


class BuildStarted(Event, type="build.started"):
    """A builder took the job."""

    build_id: str
    deployment_id: str


class BuildSucceeded(Event, type="build.succeeded"):
    """The artifact is stored."""

    build_id: str
    deployment_id: str
    artifact_id: str
    seconds: float


class BuildFailed(Event, type="build.failed"):
    """The commit did not become an artifact; `code` and `detail` say why."""

    build_id: str
    deployment_id: str
    code: str
    detail: str


class BuildCancelled(Event, type="build.cancelled"):
    """A newer commit or a person stopped it."""

    build_id: str
    deployment_id: str
