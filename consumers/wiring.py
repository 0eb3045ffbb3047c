"""What handlers need from outside; a dry run passes another set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from consumers.outcomes import Done, Outcome
from db.session import UnitOfWork
from events.bus import Bus
from events.envelope import Envelope
from zeitwork.cache import Cache
from zeitwork.config import GITHUB_WEB_URL
from zeitwork.github.app import GitHubApp


class Builds(Protocol):
    """See `consumers.builds.handler.Builder`."""

    async def build_requested(self, envelope: Envelope) -> Outcome: ...


class Refs(Protocol):
    """Looks references up; see `consumers.builds.refs.GitRefs`."""

    async def commit_of(self, clone_url: str, ref: str, *, project_id: str | None = None) -> str:
        """The commit that a branch, a tag or a full reference names now, seen as the project.

        Raises:
            SourceUnavailable: there is none, or no access.
        """


class Reports(Protocol):
    """See `consumers.github.reports.Reporter`."""

    async def deployment_changed(self, envelope: Envelope) -> Outcome: ...


class Comments(Protocol):
    """See `consumers.github.commenter.Commenter`."""

    async def preview_changed(self, envelope: Envelope) -> Outcome: ...


class Silence:
    """Tells nobody: there is no App, or it is not wanted."""

    async def deployment_changed(self, _envelope: Envelope) -> Outcome:
        return Done()

    async def preview_changed(self, _envelope: Envelope) -> Outcome:
        return Done()


@dataclass(frozen=True, slots=True)
class Wiring:
    """The real ones, or those of a rehearsal.

    Attributes:
        github: the App, where there is one.
        github_web_url: where its repositories are.
        reports: tells GitHub how deployments stand.
        comments: tells it on pull requests how their previews stand.
        inbox_suffix: makes each consumer's name in the inbox another, for a replay.
    """

    work: UnitOfWork
    bus: Bus
    builder: Builds
    refs: Refs
    build_slots: int
    drain_seconds: float
    cache: Cache
    github: GitHubApp | None = None
    github_web_url: str = GITHUB_WEB_URL
    reports: Reports = field(default_factory=Silence)
    comments: Comments = field(default_factory=Silence)
    inbox_suffix: str = ""
