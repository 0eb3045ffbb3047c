"""Builds: the command to build, and what came of it."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from events.event import Event


class Priority(IntEnum):
    """Which builds come first: the lower number."""

    PRODUCTION = 0
    PREVIEW = 10


class Stream(StrEnum):
    """Who says a line of a build's log: a program of the build, or the platform."""

    STDOUT = "stdout"
    STDERR = "stderr"
    PLATFORM = "platform"


class BuildRequested(Event, type="build.requested"):
    """Work: look at the queue of builds. The rows say which comes next; here one was added."""

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
