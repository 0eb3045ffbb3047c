"""Pull requests, branches and approvals → previews. Every event only says where to look."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from consumers.handling import once
from consumers.outcomes import Done, Drop, Outcome
from consumers.previews.changes import Changes
from consumers.previews.keeper import bring, of_branch, of_pull_request
from consumers.previews.plan import Plan, Step, is_news
from db.models import Project, PullRequest
from db.queries.github import (
    delivery_finish,
    delivery_lock,
    git_ref_find,
    pull_request_insert,
    pull_request_lock,
    pull_requests_end,
)
from db.queries.github_app import projects_on
from db.queries.previews import preview_close, preview_find, preview_lock, previews_of_branch
from db.queries.projects import project_lock
from db.session import Transaction, UnitOfWork
from events.envelope import Envelope
from events.github import PullRequestReceived
from events.previews import BranchPushed, PreviewApproved
from events.states import DeliveryState
from zeitwork import clock, logs
from zeitwork.github import addresses
from zeitwork.github.app import GitHubApp

_log = logs.get(__name__)
_HEADS = "refs/heads/"


class PullRequests:
    """The handler of pull requests; `consumer` is its durable's name in the inbox."""

    def __init__(self, work: UnitOfWork, *, app: GitHubApp | None, consumer: str) -> None:
        self._work = work
        self._changes = Changes(work, app)
        self._consumer = consumer

    async def received(self, envelope: Envelope) -> Outcome:
        event = envelope.data
        assert isinstance(event, PullRequestReceived)  # noqa: S101 - bound so by the registry
        take = partial(pull_request_received, files=await self._changes.of(event))
        return await once(self._work, self._consumer, take)(envelope)


async def pull_request_received(
    tx: Transaction, event: PullRequestReceived, *, files: Sequence[str] | None
) -> Outcome:
    """Note the pull request unless something newer is known, then look at all its projects."""
    delivery = await delivery_lock(tx.session, event.delivery_id)
    if delivery is None:
        return Drop("unknown delivery")
    if delivery.state is not DeliveryState.RECEIVED:
        return Done()
    name, projects = await projects_on(tx.session, event)
    event = _called(event, name)
    state, reason = DeliveryState.IGNORED, f"no project uses the repository {event.github_repo}"
    if projects:
        pull = await _note(tx, event, files)
        if pull is None:
            reason = f"something newer was heard of pull request {event.number}"
        else:
            state, reason = await _follow(tx, projects, pull, delivery.id)
    await delivery_finish(
        tx.session, delivery.id, state, reason=None if state is DeliveryState.PROCESSED else reason
    )
    _log.info(
        "pull request taken",
        delivery_id=event.delivery_id,
        repository=event.github_repo,
        number=event.number,
        action=event.action,
        outcome=str(state),
    )
    return Done()


async def branch_pushed(tx: Transaction, event: BranchPushed) -> Outcome:
    """Look where the branch points now; its deletion also ends the previews of pull requests."""
    ref = await git_ref_find(tx.session, event.repository, event.ref)
    if ref is None or (ref.head is not None and ref.head != event.commit_sha):
        return Drop("the branch has moved on")
    branch = event.ref.removeprefix(_HEADS)
    if ref.head is None:
        await pull_requests_end(tx.session, event.repository, branch)
    project = await project_lock(tx.session, event.project_id)
    if project is None:
        return Drop("the project is gone")
    await bring(tx, project, of_branch(project, ref, delivery_id=event.delivery_id))
    if ref.head is None:
        for seen in await previews_of_branch(tx.session, event.repository, branch):
            if seen.project_id == project.id:
                preview = await preview_lock(tx.session, seen.id)
                if preview is not None:
                    await preview_close(tx, preview, reason="the branch is deleted")
    return Done()


async def preview_approved(tx: Transaction, event: PreviewApproved) -> Outcome:
    seen = await preview_find(tx.session, event.preview_id)
    if seen is None or seen.pull_number is None:
        return Drop("the preview is gone")
    pull = await pull_request_lock(tx.session, seen.repository, seen.pull_number)
    project = await project_lock(tx.session, seen.project_id)
    if project is None or pull is None:
        return Drop("the preview is gone")
    await bring(tx, project, of_pull_request(pull))
    return Done()


def _called(event: PullRequestReceived, name: str) -> PullRequestReceived:
    """The event with the repository's name of today."""
    own = event.head_repo == event.github_repo
    return event.model_copy(
        update={
            "github_repo": name,
            "head_repo": name if own else event.head_repo,
            "clone_url": addresses.renamed(event.clone_url, event.github_repo, name),
        }
    )


async def _note(
    tx: Transaction, event: PullRequestReceived, files: Sequence[str] | None
) -> PullRequest | None:
    """The row as it is now; None when it is newer than the event."""
    said = {
        "action": event.action,
        "open": event.open,
        "draft": event.draft,
        "title": event.title,
        "author": event.author,
        "head_sha": event.head_sha,
        "head_ref": event.head_ref,
        "head_repo": event.head_repo,
        "base_ref": event.base_ref,
        "clone_url": event.clone_url,
        "skip_mark": event.skip_mark,
        "changed_at": event.changed_at,
        "files": None if files is None else list(files),
    }
    key = {"repository": event.github_repo, "number": event.number}
    inserted = await pull_request_insert(tx.session, {**key, **said})
    row = await pull_request_lock(tx.session, event.github_repo, event.number)
    if row is None or inserted:
        return row
    if not is_news((event.changed_at, event.action), (row.changed_at, row.action)):
        return None
    for name, value in said.items():
        setattr(row, name, value)
    row.noted_at = clock.now()
    await tx.session.flush()
    return row


async def _follow(
    tx: Transaction, projects: Sequence[Project], pull: PullRequest, delivery_id: str
) -> tuple[DeliveryState, str]:
    """What came of it in all projects; each decides on its own."""
    chosen: list[Plan] = []
    for seen in projects:
        project = await project_lock(tx.session, seen.id)
        if project is not None:
            chosen.append(await bring(tx, project, of_pull_request(pull, delivery_id=delivery_id)))
    acted = any(each.step in {Step.DEPLOY, Step.CLOSE} for each in chosen)
    reasons = [each.reason or "the preview shows this commit already" for each in chosen]
    return (
        DeliveryState.PROCESSED if acted else DeliveryState.IGNORED,
        "; ".join(dict.fromkeys(reasons)),
    )
