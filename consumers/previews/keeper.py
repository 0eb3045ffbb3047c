"""Brings a preview to what its pull request or branch asks for now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from consumers import globs
from consumers.path_filters import why_unchanged
from consumers.previews import hosts
from consumers.previews import plan as rules
from consumers.previews.changes import filters_of
from consumers.previews.plan import Plan, Standing, Step, Terms, plan
from db.models import Environment, GitRef, Preview, Project, PullRequest
from db.queries.deployments import Source, deployment_create
from db.queries.github_app import project_lost_source
from db.queries.previews import (
    preview_close,
    preview_emit,
    preview_lock_by_source,
    previews_active,
)
from db.queries.projects import (
    NewEnvironment,
    environment_create,
    environment_lock,
    environments_of,
    host_taken,
)
from db.queries.triggers import Asked, trigger_decided
from db.session import Transaction
from events import previews as facts
from events.environments import EnvironmentKind
from events.states import PreviewState, check
from events.triggers import TriggerKind
from zeitwork import clock, ids

_HEADS = "refs/heads/"
_LOST = "the repository is gone, or was taken from the GitHub App's installation"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a preview is to be made of, and who asked.

    Attributes:
        key: see `Preview.source`.
        ref: where git finds the commit, also one that came from a fork.
        noted_at: when there was news of it last.
        files: what it changes, None where that is not known.
    """

    key: str
    repository: str
    pull_number: int | None
    branch: str
    ref: str
    source: rules.Source
    clone_url: str
    message: str
    actor: str
    noted_at: datetime
    delivery_id: str | None = None
    files: Sequence[str] | None = None


def of_pull_request(pull: PullRequest, *, delivery_id: str | None = None) -> Wish:
    return Wish(
        key=f"pr-{pull.number}",
        repository=pull.repository,
        pull_number=pull.number,
        branch=pull.head_ref,
        ref=f"refs/pull/{pull.number}/head",
        source=rules.Source(
            open=pull.open,
            head_sha=pull.head_sha,
            draft=pull.draft,
            from_fork=pull.head_repo != pull.repository,
            skip_mark=pull.skip_mark,
        ),
        clone_url=pull.clone_url,
        message=pull.title,
        actor=pull.author,
        noted_at=pull.noted_at,
        delivery_id=delivery_id,
        files=pull.files,
    )


def of_branch(project: Project, ref: GitRef, *, delivery_id: str | None = None) -> Wish:
    branch = ref.ref.removeprefix(_HEADS)
    wanted = globs.any_matches(project.preview_branches, branch)
    gone = "the branch is deleted" if ref.head is None else "the branch makes no previews any more"
    return Wish(
        key=ref.ref,
        repository=ref.repository,
        pull_number=None,
        branch=branch,
        ref=ref.ref,
        source=rules.Source(
            open=ref.head is not None and wanted, head_sha=ref.head or "", ending=gone
        ),
        clone_url=ref.clone_url or "",
        message=ref.message or "",
        actor=ref.pusher or "unknown",
        noted_at=ref.noted_at,
        delivery_id=delivery_id,
    )


async def bring(tx: Transaction, project: Project, wish: Wish) -> Plan:
    """Take the next step for the (locked) project's preview; which it was, and why."""
    preview = await preview_lock_by_source(tx.session, project.id, wish.key)
    active = await previews_active(tx.session, project.id)
    has_place = preview is not None and preview.environment_id is not None
    standing = Standing(
        state=preview.state if preview is not None else None,
        deployed_sha=preview.deployed_sha if preview is not None else None,
        approved_sha=preview.approved_sha if preview is not None else None,
        others=active - has_place,
    )
    enabled = project.previews_enabled and project.closing_at is None
    lost = _LOST if await project_lost_source(tx.session, project) else None
    terms = Terms(enabled, project.preview_limit, project.preview_forks, lost)
    expired = clock.now() > wish.noted_at + expiry(project)
    unchanged = why_unchanged(wish.files, filters_of(project))
    source = replace(wish.source, expired=expired, unchanged=unchanged)
    chosen = plan(source, standing, terms)
    match chosen.step:
        case Step.CLOSE if preview is not None:
            await preview_close(tx, preview, reason=chosen.reason or "")
        case Step.WAIT:
            await _wait(tx, project, preview, wish, chosen)
        case Step.DEPLOY:
            await _deploy(tx, project, preview or _new(tx, project, wish), wish, chosen)
        case _:
            pass
    return chosen


def expiry(project: Project) -> timedelta:
    return timedelta(days=project.preview_max_age_days)


def _new(tx: Transaction, project: Project, wish: Wish) -> Preview:
    preview = Preview(
        id=ids.new(ids.Prefix.PREVIEW),
        organisation_id=project.organisation_id,
        project_id=project.id,
        repository=wish.repository,
        source=wish.key,
        pull_number=wish.pull_number,
        branch=wish.branch,
        from_fork=wish.source.from_fork,
        head_sha=wish.source.head_sha,
        state=PreviewState.WAITING,
        expires_at=wish.noted_at + expiry(project),
    )
    tx.session.add(preview)
    return preview


def _renew(project: Project, preview: Preview, wish: Wish) -> None:
    """News keep a preview alive."""
    preview.head_sha = wish.source.head_sha
    preview.expires_at = wish.noted_at + expiry(project)
    preview.branch, preview.from_fork = wish.branch, wish.source.from_fork


async def _wait(
    tx: Transaction, project: Project, preview: Preview | None, wish: Wish, chosen: Plan
) -> None:
    if preview is not None and preview.state is PreviewState.CLOSING:
        return  # the reconciler asks again once it is gone
    told = preview is not None and (preview.reason, preview.head_sha) == (
        chosen.reason,
        wish.source.head_sha,
    )
    preview = preview or _new(tx, project, wish)
    _renew(project, preview, wish)
    if told:
        return
    preview.reason = chosen.reason
    said = facts.PreviewWaiting(
        preview_id=preview.id,
        repository=preview.repository,
        pull_number=preview.pull_number,
        reason=chosen.reason or "",
    )
    preview_emit(tx, preview, said)
    trigger_decided(tx, project, _asked(wish), chosen.reason or "")


async def _deploy(
    tx: Transaction, project: Project, preview: Preview, wish: Wish, chosen: Plan
) -> None:
    _renew(project, preview, wish)
    if preview.environment_id is None:
        environment = await _place(tx, project, preview, wish)
    else:
        environment = await environment_lock(tx.session, preview.environment_id)
    sha = wish.source.head_sha
    label = hosts.commit_label(project.slug, sha, key=environment.id)
    host = f"{label}.{environment.host.partition('.')[2]}"
    taken = await host_taken(tx.session, host, by_other_than=environment.id)
    source = Source(
        commit_sha=sha,
        ref=wish.ref,
        commit_message=wish.message,
        clone_url=project.clone_url or wish.clone_url,
        actor=wish.actor,
        trusted=chosen.trusted,
        host=None if taken else host,
    )
    deployment, _ = await deployment_create(
        tx, environment, source, root_directory=project.root_directory
    )
    preview.deployed_sha, preview.reason = sha, None
    trigger_decided(tx, project, _asked(wish), deployment)


async def _place(tx: Transaction, project: Project, preview: Preview, wish: Wish) -> Environment:
    """Make the preview's environment, at a host of its own beside the project's."""
    first = (await environments_of(tx.session, project.id))[0]
    domain = first.host.partition(".")[2]
    name = hosts.environment_name(pull_number=wish.pull_number, branch=wish.branch)
    readable, hashed = hosts.preview_labels(project.slug, name, key=f"{project.id} {wish.key}")
    host = f"{readable}.{domain}"
    if await host_taken(tx.session, host):
        host = f"{hashed}.{domain}"
    environment = await environment_create(
        tx,
        project,
        NewEnvironment(
            name=name, kind=EnvironmentKind.PREVIEW, branch=wish.branch[:255], host=host
        ),
    )
    check(preview.state, PreviewState.ACTIVE)
    preview.state, preview.environment_id = PreviewState.ACTIVE, environment.id
    opened = facts.PreviewOpened(
        preview_id=preview.id,
        repository=preview.repository,
        pull_number=preview.pull_number,
        environment_id=environment.id,
    )
    preview_emit(tx, preview, opened)
    return environment


def _asked(wish: Wish) -> Asked:
    kind = TriggerKind.PUSH if wish.pull_number is None else TriggerKind.PULL_REQUEST
    return Asked(
        kind,
        wish.ref,
        wish.actor,
        commit_sha=wish.source.head_sha or None,
        message=wish.message,
        delivery_id=wish.delivery_id,
    )
