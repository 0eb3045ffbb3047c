"""The parts of GitHub's payloads that Zeitwork reads; everything else is ignored.

https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from events.github import PullRequestAction, PullRequestReceived, PushReceived, skip_mark
from producers.clone_urls import without_credentials
from zeitwork.errors import MalformedBody

_MESSAGE_LENGTH = 500
# More than that is as good as not known; the event that holds them has its own limit.
_MOST_FILES = 1000
_MOST_FILES_BYTES = 32 * 1024  # six times that in JSON, at worst
# A list of this length or more has been cut by GitHub, which tells of no more commits.
_MOST_COMMITS = 2048
_SHA = r"^([0-9a-f]{40}|[0-9a-f]{64})$"


def _encodable(value: Any) -> Any:
    """JSON can hold half a surrogate pair, UTF-8 and so our events cannot."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_encodable)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


_AnyPart = TypeVar("_AnyPart", bound=_Part)


class _Repository(_Part):
    id: int | None = Field(None, ge=1, lt=1 << 63)
    full_name: Text = Field(max_length=200, pattern=r"^[^/\s]+/[^/\s]+$")
    clone_url: Text = Field(max_length=2000)
    pushed_at: int | None = Field(None, ge=0, le=2**40)


class _Installation(_Part):
    id: int


class _Commit(_Part):
    message: Text = ""


class _Changes(_Part):
    # Tuples: a default that can change is copied deeply for every commit that leaves it out.
    added: tuple[Text, ...] = ()
    modified: tuple[Text, ...] = ()
    removed: tuple[Text, ...] = ()


class _Pusher(_Part):
    name: Text = Field("unknown", max_length=200)


class _Push(_Part):
    ref: Text = Field(max_length=512, pattern=r"^refs/")
    before: str | None = Field(None, pattern=_SHA)
    after: str = Field(pattern=_SHA)
    created: bool = False
    deleted: bool = False
    forced: bool = False
    repository: _Repository
    installation: _Installation | None = None
    head_commit: _Commit | None = None
    commits: list[_Changes] | None = None
    pusher: _Pusher = _Pusher()


class _HeadRepository(_Part):
    full_name: Text = Field(max_length=200)


class _Base(_Part):
    ref: Text = Field(max_length=512)


class _Head(_Base):
    sha: str = Field(pattern=_SHA)
    repo: _HeadRepository | None = None


class _User(_Part):
    login: Text = Field("unknown", max_length=200)


class _PullRequest(_Part):
    number: int = Field(ge=1, le=2**31 - 1)
    state: Text
    title: Text = ""
    draft: bool = False
    head: _Head
    base: _Base
    user: _User | None = None
    updated_at: datetime


class _PullRequestEvent(_Part):
    action: PullRequestAction
    pull_request: _PullRequest
    repository: _Repository
    installation: _Installation | None = None


def push(body: object, *, delivery_id: str) -> PushReceived:
    """The event in a push payload.

    Raises:
        MalformedBody: a needed field is missing or of the wrong form; the message names it.
    """
    said = _read(_Push, body, "push")
    message = said.head_commit.message if said.head_commit else ""
    pushed_at = said.repository.pushed_at
    return PushReceived(
        delivery_id=delivery_id,
        github_repo=said.repository.full_name.lower(),
        github_installation_id=said.installation.id if said.installation else None,
        ref=said.ref,
        after=said.after,
        deleted=said.deleted,
        # GitHub sends no credentials here, and whoever imitates it must not: events hold no secret.
        clone_url=without_credentials(said.repository.clone_url),
        commit_message=message[:_MESSAGE_LENGTH],
        pusher=said.pusher.name,
        before=named(said.before),
        pushed_at=None if pushed_at is None else datetime.fromtimestamp(pushed_at, UTC),
        # Commits of a new or rewritten branch do not say how it differs from what was deployed.
        files=None if said.created or said.forced else changed(said.commits or []),
        skip_mark=skip_mark(message),
        github_repo_id=said.repository.id,
    )


def pull_request(body: object, *, delivery_id: str) -> PullRequestReceived:
    """The event in a pull_request payload.

    Raises:
        MalformedBody: see `push`.
    """
    said = _read(_PullRequestEvent, body, "pull_request")
    pull = said.pull_request
    return PullRequestReceived(
        delivery_id=delivery_id,
        action=said.action,
        github_repo=said.repository.full_name.lower(),
        github_installation_id=said.installation.id if said.installation else None,
        number=pull.number,
        title=pull.title[:_MESSAGE_LENGTH],
        author=pull.user.login if pull.user else "unknown",
        open=pull.state == "open",
        draft=pull.draft,
        head_sha=pull.head.sha,
        head_ref=pull.head.ref,
        head_repo=pull.head.repo.full_name.lower() if pull.head.repo else None,
        base_ref=pull.base.ref,
        clone_url=without_credentials(said.repository.clone_url),
        changed_at=pull.updated_at,
        skip_mark=skip_mark(pull.title),
        github_repo_id=said.repository.id,
    )


def named(commit_sha: str | None) -> str | None:
    """Git's name for no commit is all zeros."""
    return None if commit_sha is None or not commit_sha.strip("0") else commit_sha


def changed(commits: Sequence[_Changes]) -> tuple[str, ...] | None:
    """What the commits change, by path; None when it cannot be told."""
    if not commits or len(commits) >= _MOST_COMMITS:
        return None
    return small(path for each in commits for path in (*each.added, *each.modified, *each.removed))


def small(paths: Iterable[str]) -> tuple[str, ...] | None:
    """The paths, each once; None when there are none, or more than an event should hold."""
    files = tuple(dict.fromkeys(paths))
    size = sum(len(path.encode()) for path in files)
    fits = 0 < len(files) <= _MOST_FILES and size <= _MOST_FILES_BYTES
    return files if fits else None


def _read(model: type[_AnyPart], body: object, name: str) -> _AnyPart:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedBody(f"{name} payload: {where}: {first['msg']}") from error
