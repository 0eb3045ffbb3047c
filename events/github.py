"""Pushes and pull requests, verified and normalised; raw bodies stay in their deliveries."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, Literal, get_args

from events.event import Event

# The marks that GitHub and GitLab know for their own pipelines, and one that only deploys heed.
_SKIP_MARK = re.compile(r"\[(?:skip (?:ci|deploy)|(?:ci|deploy) skip|no ci)\]", re.IGNORECASE)

PullRequestAction = Literal[
    "opened", "reopened", "synchronize", "closed", "converted_to_draft", "ready_for_review"
]
PULL_REQUEST_ACTIONS: Final[frozenset[str]] = frozenset(get_args(PullRequestAction))


def skip_mark(message: str) -> str | None:
    """The mark in a commit message that asks for no deployment, in lower case."""
    found = _SKIP_MARK.search(message)
    return None if found is None else found[0].lower()


class PushReceived(Event, type="push.received"):
    """A signed push webhook was stored.

    `ref` is the full reference (`refs/heads/main`); `after` is the commit to deploy. A push from
    another host than GitHub names its project; `github_repo` is then `git:` and the project's id.

    Attributes:
        github_repo_id: what GitHub calls the repository whatever its name; None elsewhere.
        before: the commit that the reference pointed at, None for one that was made by the push.
        pushed_at: when, by the sender's clock: pushes may come late and out of order.
        files: what changed, None where that is not known.
        skip_mark: the mark in the whole commit message; `commit_message` is only its beginning.
    """

    delivery_id: str
    github_repo: str
    github_installation_id: int | None
    ref: str
    after: str
    deleted: bool
    clone_url: str
    commit_message: str
    pusher: str
    project_id: str | None = None
    github_repo_id: int | None = None
    before: str | None = None
    pushed_at: datetime | None = None
    files: tuple[str, ...] | None = None
    skip_mark: str | None = None


class PullRequestReceived(Event, type="pull_request.received"):
    """A signed pull_request webhook was stored.

    Attributes:
        clone_url: of the repository that the pull request is to; it also serves a fork's commits.
        head_repo: where the branch is, None when that repository is gone.
        skip_mark: the mark in the title.
        changed_at: when, by GitHub's clock.
        github_repo_id: as of a push.
    """

    delivery_id: str
    action: PullRequestAction
    github_repo: str
    github_installation_id: int | None
    number: int
    title: str
    author: str
    open: bool
    draft: bool
    head_sha: str
    head_ref: str
    head_repo: str | None
    base_ref: str
    clone_url: str
    changed_at: datetime
    skip_mark: str | None = None
    github_repo_id: int | None = None
