"""A stored push → deployments of the environments that follow its branch, or the reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from consumers.github.order import Move, is_late
from consumers.github.rules import Place, Push, Verdict, judge
from consumers.outcomes import Done, Drop, Outcome
from consumers.path_filters import Filters
from db.models import Environment, GitRef, Project
from db.queries.deployments import Source, deployment_create
from db.queries.github import delivery_finish, delivery_lock, git_ref_lock
from db.queries.github_app import projects_on
from db.queries.projects import (
    environment_lock_if_there,
    environments_of,
    project_find,
)
from db.queries.triggers import Asked, trigger_decided
from db.session import Transaction
from events.github import PushReceived
from events.previews import BranchPushed
from events.states import DeliveryState
from events.triggers import TriggerKind
from zeitwork import clock, logs
from zeitwork.github import addresses

_log = logs.get(__name__)


async def push_received(tx: Transaction, event: PushReceived) -> Outcome:
    """Match projects by repository and installation; the delivery's row says what became of it."""
    delivery = await delivery_lock(tx.session, event.delivery_id)
    if delivery is None:
        return Drop("unknown delivery")
    if delivery.state is not DeliveryState.RECEIVED:
        return Done()
    name, projects = await _projects(tx, event)
    event = event.model_copy(
        update={
            "github_repo": name,
            "clone_url": addresses.renamed(event.clone_url, event.github_repo, name),
        }
    )
    push = Push(event.ref, deleted=event.deleted, files=event.files, skip_mark=event.skip_mark)
    if projects:
        push = replace(push, late=await _note(tx, event))
    reasons: list[str] = []
    deployed = 0
    for project in projects:
        environments = await environments_of(tx.session, project.id)
        verdict = judge(push, _filters(project), _places(environments))
        deployed += await _follow(tx, event, project, verdict)
        if verdict.why_not is not None:
            reasons.append(verdict.why_not)
    if not projects:
        reasons.append(_nobody(event))
    outcome = DeliveryState.PROCESSED if deployed else DeliveryState.IGNORED
    reason = None if deployed else "; ".join(dict.fromkeys(reasons))
    await delivery_finish(tx.session, delivery.id, outcome, reason=reason)
    _log.info(
        "push taken",
        delivery_id=event.delivery_id,
        repository=event.github_repo,
        deployments=deployed,
        reason=reason,
    )
    return Done()


async def _projects(tx: Transaction, event: PushReceived) -> tuple[str, Sequence[Project]]:
    """Those that it is about, and the name of today of the repository."""
    if event.project_id is None:
        return await projects_on(tx.session, event)
    named = await project_find(tx.session, event.project_id)
    return event.github_repo, [] if named is None or named.closing_at is not None else [named]


def _nobody(event: PushReceived) -> str:
    if event.project_id is not None:
        return f"there is no project {event.project_id}"
    through = (
        f" through the installation {event.github_installation_id}"
        if event.github_installation_id is not None
        else ""
    )
    return f"no project uses the repository {event.github_repo}{through}"


async def _note(tx: Transaction, event: PushReceived) -> bool:
    """Keep where the reference points now; whether we knew better already."""
    row = await git_ref_lock(tx.session, event.github_repo, event.ref)
    said = Move(event.before, None if event.deleted else event.after, event.pushed_at)
    if is_late(said, _known(row)):
        return True
    row.previous, row.head = said.before, said.after
    row.clone_url, row.message = event.clone_url, event.commit_message
    row.pusher, row.pushed_at = event.pusher, said.at or row.pushed_at
    row.noted_at = clock.now()
    return False


def _known(row: GitRef) -> Move | None:
    if row.head is None and row.previous is None:
        return None
    return Move(row.previous, row.head, row.pushed_at)


async def _follow(tx: Transaction, event: PushReceived, project: Project, verdict: Verdict) -> int:
    """Do what the verdict says for one project; how many deployments and previews it leads to."""
    asked = _asked(event)
    for place in verdict.deploys:
        environment = await environment_lock_if_there(tx.session, place.environment_id)
        if environment is None or environment.closing_at is not None:
            continue
        source = Source(
            commit_sha=event.after,
            ref=event.ref,
            commit_message=event.commit_message,
            clone_url=project.clone_url or event.clone_url,
            actor=event.pusher,
        )
        deployment, _ = await deployment_create(
            tx, environment, source, root_directory=project.root_directory
        )
        trigger_decided(tx, project, asked, deployment)
    if verdict.why_not is not None:
        trigger_decided(tx, project, asked, verdict.why_not)
    if verdict.previews or verdict.removes:
        _tell(tx, event, project)
    return len(verdict.deploys) + verdict.previews


def _asked(event: PushReceived) -> Asked:
    return Asked(
        TriggerKind.PUSH,
        event.ref,
        event.pusher,
        commit_sha=None if event.deleted else event.after,
        message=event.commit_message,
        delivery_id=event.delivery_id,
    )


def _tell(tx: Transaction, event: PushReceived, project: Project) -> None:
    tx.emit(
        BranchPushed(
            project_id=project.id,
            delivery_id=event.delivery_id,
            repository=event.github_repo,
            ref=event.ref,
            commit_sha=None if event.deleted else event.after,
        ),
        subject=project.id,
        organisation_id=project.organisation_id,
        project_id=project.id,
    )


def _places(environments: Sequence[Environment]) -> list[Place]:
    return [
        Place(each.id, each.name, each.kind, each.branch, closing=each.closing_at is not None)
        for each in environments
    ]


def _filters(project: Project) -> Filters:
    return Filters(
        root_directory=project.root_directory,
        include=project.include_paths,
        exclude=project.exclude_paths,
        preview_branches=project.preview_branches if project.previews_enabled else (),
    )
