"""What a pull request or a branch means for its preview; pure.

Desired is a preview for each one that is open. The limit of a project lets the newest wait: what
somebody may be looking at is not taken away, and the oldest of those that wait comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from events.previews import ForkPolicy
from events.states import PreviewState

# Within the same second of GitHub's clock, what can only have come later.
_RANK = {"opened": 0, "closed": 2, "reopened": 3}
_BETWEEN = 1


class Step(Enum):
    """What is to happen."""

    NOTHING = auto()
    WAIT = auto()
    DEPLOY = auto()
    CLOSE = auto()


@dataclass(frozen=True, slots=True)
class Source:
    """A pull request or a branch, as last heard of.

    Attributes:
        expired: nothing was heard of it for as long as the project keeps previews.
        ending: why it is not open.
        unchanged: why what it changes does not concern the project.
    """

    open: bool
    head_sha: str
    draft: bool = False
    from_fork: bool = False
    skip_mark: str | None = None
    expired: bool = False
    ending: str = "the pull request is closed"
    unchanged: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Its preview as it is.

    Attributes:
        state: None while there is none.
        others: how many other previews of the project run.
    """

    state: PreviewState | None = None
    deployed_sha: str | None = None
    approved_sha: str | None = None
    others: int = 0


@dataclass(frozen=True, slots=True)
class Terms:
    """What the project says about previews; `lost` is why it can have none, whatever it says."""

    enabled: bool
    limit: int
    forks: ForkPolicy
    lost: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A step with its reason; `trusted` says whether what is deployed may see secrets."""

    step: Step
    reason: str | None = None
    trusted: bool = True


def plan(source: Source, standing: Standing, terms: Terms) -> Plan:
    """The next step; asking again once it is done gives NOTHING, or WAIT for the same reason."""
    if not source.open:
        return _end(standing, source.ending)
    if terms.lost is not None:
        return _end(standing, terms.lost)
    if not terms.enabled:
        return _end(standing, "previews of the project are off")
    if source.expired:
        return _end(standing, "nothing was heard of it for too long")
    if standing.state is PreviewState.CLOSING:
        return Plan(Step.WAIT, "the preview before it is still being taken down")
    if standing.deployed_sha == source.head_sha:
        return Plan(Step.NOTHING)
    if source.draft:
        return Plan(Step.WAIT, "the pull request is a draft")
    if source.skip_mark is not None:
        return Plan(Step.WAIT, f"the title says {source.skip_mark}")
    if source.unchanged is not None:
        return Plan(Step.WAIT, source.unchanged)
    guarded = source.from_fork and terms.forks is ForkPolicy.APPROVE
    if guarded and standing.approved_sha != source.head_sha:
        return Plan(Step.WAIT, "a commit from a fork has to be approved")
    if standing.state is not PreviewState.ACTIVE and standing.others >= terms.limit:
        return Plan(
            Step.WAIT, f"{standing.others} previews run; the project's limit is {terms.limit}"
        )
    trusted = not source.from_fork or terms.forks is ForkPolicy.TRUST
    return Plan(Step.DEPLOY, trusted=trusted)


def is_news(said: tuple[datetime, str], known: tuple[datetime, str]) -> bool:
    """Whether what was said (when, and which action) is not older than what is known.

    Repeating the newest is news too: it changes nothing.
    """
    return (said[0], _rank(said[1])) >= (known[0], _rank(known[1]))


def _rank(action: str) -> int:
    return _RANK.get(action, _BETWEEN)


def _end(standing: Standing, reason: str) -> Plan:
    gone = standing.state in {None, PreviewState.CLOSING}
    return Plan(Step.NOTHING if gone else Step.CLOSE, reason)
