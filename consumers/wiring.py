"""What handlers need from outside; a dry run passes another set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from consumers.outcomes import Outcome
from db.session import UnitOfWork
from events.bus import Bus
from events.envelope import Envelope
from zeitwork.cache import Cache


class Builds(Protocol):
    """See `consumers.builds.handler.Builder`."""

    async def build_requested(self, envelope: Envelope) -> Outcome: ...


class Refs(Protocol):
    """Looks references up; see `consumers.builds.refs.GitRefs`."""

    async def commit_of(self, clone_url: str, ref: str) -> str:
        """The commit that a branch, a tag or a full reference names now.

        Raises:
            SourceUnavailable: there is none, or no access.
        """


@dataclass(frozen=True, slots=True)
class Wiring:
    """The real ones, or those of a rehearsal.

    Attributes:
        inbox_suffix: makes each consumer's name in the inbox another, for a replay.
    """

    work: UnitOfWork
    bus: Bus
    builder: Builds
    refs: Refs
    build_slots: int
    drain_seconds: float
    cache: Cache
    inbox_suffix: str = ""
