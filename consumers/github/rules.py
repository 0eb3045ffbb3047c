"""Which push deploys what, and why the others do not; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumers import globs
from consumers.path_filters import Filters, why_unchanged
from events.environments import EnvironmentKind

_BRANCH = "refs/heads/"
_TAG = "refs/tags/"


@dataclass(frozen=True, slots=True)
class Push:
    """The part of a push that the rules look at.

    Attributes:
        ref: the full reference.
        late: a newer push of the reference was taken before.
        files: what changed, None where that is not known; what is not known may be anything.
        skip_mark: in the commit message, such as `[skip ci]`.
    """

    ref: str
    deleted: bool = False
    late: bool = False
    files: Sequence[str] | None = None
    skip_mark: str | None = None

    @property
    def branch(self) -> str | None:
        """None for what is no branch."""
        return self.ref.removeprefix(_BRANCH) if self.ref.startswith(_BRANCH) else None


@dataclass(frozen=True, slots=True)
class Place:
    """An environment that may follow a branch."""

    environment_id: str
    name: str
    kind: EnvironmentKind
    branch: str
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a push means for one project.

    Attributes:
        deploys: environments to deploy.
        previews: whether the branch gets, or keeps up, a preview.
        removes: whether the branch's previews are to go.
        why_not: when nothing is to happen, the reason.
    """

    deploys: tuple[Place, ...] = ()
    previews: bool = False
    removes: bool = False
    why_not: str | None = None


def judge(push: Push, filters: Filters, places: Sequence[Place]) -> Verdict:
    """Ask the cheap and certain questions first, so that the reason is the one to act on."""
    branch = push.branch
    if branch is None:
        return Verdict(why_not=_not_a_branch(push.ref))
    if push.late:
        return Verdict(why_not=f"a newer push of {branch} came first")
    if push.deleted:
        return Verdict(removes=True, why_not=f"the push deletes the branch {branch}")
    following = tuple(place for place in places if _follows(place, branch))
    previews = not following and globs.any_matches(filters.preview_branches, branch)
    if not following and not previews:
        return Verdict(why_not=_nobody_follows(branch, filters, places))
    if push.skip_mark is not None:
        return Verdict(why_not=f"the commit message says {push.skip_mark}")
    unchanged = why_unchanged(push.files, filters)
    if unchanged is not None:
        return Verdict(why_not=unchanged)
    return Verdict(deploys=following, previews=previews)


def _follows(place: Place, branch: str) -> bool:
    return (
        place.kind is not EnvironmentKind.PREVIEW
        and not place.closing
        and globs.matches(place.branch, branch)
    )


def _not_a_branch(ref: str) -> str:
    if ref.startswith(_TAG):
        tag = ref.removeprefix(_TAG)
        return f"tags are deployed by hand (zeitwork deploy PROJECT --ref {tag})"
    return f"{ref} is not a branch"


def _nobody_follows(branch: str, filters: Filters, places: Sequence[Place]) -> str:
    rules = [place for place in places if place.kind is not EnvironmentKind.PREVIEW]
    if len(rules) == 1 and not filters.preview_branches:
        return f"branch {branch} is not deployed (the environment follows {rules[0].branch})"
    said = [f"{place.name} follows {place.branch}" for place in rules]
    if filters.preview_branches:
        said.append(f"previews are made of {', '.join(filters.preview_branches)}")
    return f"branch {branch} is not deployed ({'; '.join(said)})"
