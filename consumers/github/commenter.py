"""Keeps one comment on each pull request up to date: how its previews stand.

As with reports, an event only says where to look, and one process at a time posts. A comment is
made once: whoever does not know its id looks for the mark in it first, as an earlier try may have
ended after GitHub had taken it. One that a person deletes is not made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from consumers.github import comment as texts
from consumers.github.comment import Line, Version
from consumers.outcomes import Done, Later, Outcome
from db.models import Deployment, GitHubComment
from db.queries.github_comments import (
    Sight,
    Topic,
    comment_installation,
    comment_note,
    comment_sights,
    comment_take,
    topic_of_deployment,
)
from db.queries.projects import project_find
from db.session import Transaction, UnitOfWork
from events.deployments import DeploymentFact
from events.envelope import Envelope
from events.previews import PreviewFact
from events.states import PreviewState
from zeitwork import clock, logs, metrics
from zeitwork.errors import GitHubLimited, GitHubNotFound, GitHubRefused
from zeitwork.github.app import GitHubApp
from zeitwork.github.posts import Posts

_log = logs.get(__name__)
_LEASE_SECONDS = 90.0  # more than the durable lets one handling take
_BUSY_SECONDS = 2.0
_KIND = "comments"
DELETED: Final = "comment_deleted"


@dataclass(frozen=True, slots=True)
class _Held:
    """A comment that is ours to post."""

    comment: GitHubComment
    lease: datetime | None
    lines: Sequence[Line]
    posts: Posts

    @property
    def text(self) -> str:
        return texts.text(self.lines, organisation_id=self.comment.organisation_id)


class Commenter:
    """Posts comments.

    Args:
        visit: gives the address of a host for visitors.
        logs: gives the place of a deployment's logs, from its id and its build's.
    """

    def __init__(
        self,
        work: UnitOfWork,
        app: GitHubApp,
        *,
        visit: Callable[[str], str],
        logs: Callable[[str, str | None], str],
    ) -> None:
        self._work = work
        self._app = app
        self._visit = visit
        self._logs = logs

    async def preview_changed(self, envelope: Envelope) -> Outcome:
        """After an event about a deployment or a preview."""
        held = await self._take(envelope)
        if not isinstance(held, _Held):
            return held
        try:
            return await self._post(held)
        finally:
            async with self._work.transaction() as tx:
                await comment_note(tx.session, held.comment, lease=held.lease)

    async def _take(self, envelope: Envelope) -> _Held | Outcome:
        async with self._work.transaction() as tx:
            topic = await _topic(tx, envelope)
            if topic is None:
                return Done()
            installation_id = await comment_installation(tx.session, topic)
            if installation_id is None:
                return Done()
            comment = await comment_take(
                tx.session, topic, installation_id=installation_id, seconds=_LEASE_SECONDS
            )
            if comment is None:
                return Later(_BUSY_SECONDS, "another process posts about this pull request")
            # After the lease was had: whoever held it before knew no more than we do now.
            sights = await comment_sights(tx.session, topic, installation_id=installation_id)
            lines = self._lines(comment, sights)
            if not lines:
                tx.discard()  # nothing ever was shown, and there is nothing to show
                return Done()
        posts = Posts(self._app, installation_id, topic.repository)
        return _Held(comment, comment.lease_until, lines, posts)

    def _lines(self, comment: GitHubComment, sights: Sequence[Sight]) -> list[Line]:
        """All previews that are, and those that were; what is shown is noted in the comment."""
        now = clock.now()
        lines = {each.project.id: self._line(each) for each in sights}
        known = comment.shown
        for id_, line in lines.items():
            if line.removed_at is not None and "removed_at" in known.get(id_, {}):
                lines[id_] = _gone(known[id_])
        for id_, was in known.items():
            lines.setdefault(id_, _gone({"removed_at": now.isoformat(), **was}))
        comment.shown = {id_: _noted(line) for id_, line in lines.items()}
        return list(lines.values())

    def _line(self, sight: Sight) -> Line:
        preview, environment = sight.preview, sight.environment
        closing = environment is not None and environment.closing_at is not None
        if preview.state is PreviewState.CLOSING or closing:
            return Line(sight.project.slug, removed_at=clock.now())
        return Line(
            sight.project.slug,
            reason=preview.reason,
            url=None if environment is None else self._visit(environment.host),
            version=None if sight.deployment is None else self._version(sight, sight.deployment),
        )

    def _version(self, sight: Sight, newest: Deployment) -> Version:
        return Version(
            state=newest.state,
            commit_sha=newest.commit_sha,
            error_code=newest.error_code,
            error_detail=newest.error_detail,
            url=None if newest.host is None else self._visit(newest.host),
            logs=self._logs(newest.id, sight.build_id),
            at=newest.finished_at or newest.activated_at or newest.created_at,
        )

    async def _post(self, held: _Held) -> Outcome:
        comment, said = held.comment, held.text
        digest = hashlib.sha256(said.encode()).hexdigest()
        if comment.settled == DELETED or comment.digest == digest:
            return Done()
        try:
            outcome = await _put(held, said)
        except GitHubLimited as error:
            return Later(error.seconds, error.message)
        except GitHubRefused as error:
            # The repository is gone, or a permission: no attempt would help. The next event tries.
            _settle(held, error.code, error.message)
            return Done()
        if outcome == DELETED:
            _settle(held, DELETED, "A person deleted the comment; it is not made again.")
            return Done()
        comment.digest, comment.settled, comment.settled_detail = digest, None, None
        metrics.GITHUB_REPORTS.labels(_KIND, "posted").inc()
        return Done()


async def _topic(tx: Transaction, envelope: Envelope) -> Topic | None:
    event = envelope.data
    if isinstance(event, DeploymentFact):
        return await topic_of_deployment(tx.session, event.deployment_id)
    assert isinstance(event, PreviewFact)  # noqa: S101 - bound so by the registry
    organisation_id, project_id = envelope.organisation_id, envelope.project_id
    if event.pull_number is None or organisation_id is None or project_id is None:
        return None
    # What the repository was called when the event was made may be its former name.
    project = await project_find(tx.session, project_id)
    repository = event.repository if project is None else project.github_repo
    return None if repository is None else Topic(organisation_id, repository, event.pull_number)


async def _put(held: _Held, said: str) -> str | None:
    """Bring GitHub's comment to what it should say; DELETED where a person took it away."""
    comment, posts = held.comment, held.posts
    known = comment.comment_id
    if known is not None:
        try:
            await posts.comment_update(known, said)
        except GitHubNotFound:
            pass  # or the repository is gone, which the next call says
        else:
            return None
    found = await posts.comment_find(comment.number, texts.marker(comment.organisation_id))
    if found is not None:
        comment.comment_id = found
        await posts.comment_update(found, said)
    elif known is not None:
        return DELETED
    elif any(line.removed_at is None for line in held.lines):
        comment.comment_id = await posts.comment(comment.number, said)
    return None


def _settle(held: _Held, code: str, detail: str) -> None:
    comment = held.comment
    comment.settled, comment.settled_detail = code, detail
    metrics.GITHUB_REPORTS.labels(_KIND, "refused").inc()
    _log.warning(
        "comment refused",
        repository=comment.repository,
        number=comment.number,
        code=code,
        detail=detail,
    )


def _gone(was: dict[str, str]) -> Line:
    return Line(was["project"], removed_at=datetime.fromisoformat(was["removed_at"]))


def _noted(line: Line) -> dict[str, str]:
    if line.removed_at is None:
        return {"project": line.project}
    return {"project": line.project, "removed_at": line.removed_at.isoformat()}
