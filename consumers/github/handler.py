"""A stored push → deployments of the environments that follow its branch."""

from __future__ import annotations

from consumers.github.rules import Push, why_not
from consumers.outcomes import Done, Drop, Outcome
from db.models import Project
from db.queries.deployments import Source, deployment_create
from db.queries.github import delivery_finish, delivery_lock
from db.queries.projects import environment_lock, environments_of, project_find_by_github_repo
from db.session import Transaction
from events.github import PushReceived
from events.states import DeliveryState
from zeitwork import logs

_log = logs.get(__name__)


async def push_received(tx: Transaction, event: PushReceived) -> Outcome:
    """Match projects by repository and installation; the delivery's row says what became of it."""
    delivery = await delivery_lock(tx.session, event.delivery_id)
    if delivery is None:
        return Drop("unknown delivery")
    if delivery.state is not DeliveryState.RECEIVED:
        return Done()
    projects = await project_find_by_github_repo(
        tx.session, event.github_repo, installation_id=event.github_installation_id
    )
    reasons: list[str] = []
    deployed = 0
    for project in projects:
        deployed += await _deploy(tx, event, project, reasons)
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


def _nobody(event: PushReceived) -> str:
    through = (
        f" through the installation {event.github_installation_id}"
        if event.github_installation_id is not None
        else ""
    )
    return f"no project uses the repository {event.github_repo}{through}"


async def _deploy(
    tx: Transaction, event: PushReceived, project: Project, reasons: list[str]
) -> int:
    push = Push(event.ref, event.deleted)
    deployed = 0
    for environment in await environments_of(tx.session, project.id):
        reason = why_not(push, branch=environment.branch)
        if reason is not None:
            reasons.append(reason)
            continue
        locked = await environment_lock(tx.session, environment.id)
        source = Source(
            commit_sha=event.after,
            ref=event.ref,
            commit_message=event.commit_message,
            clone_url=project.clone_url or event.clone_url,
            actor=event.pusher,
        )
        await deployment_create(tx, locked, source, root_directory=project.root_directory)
        deployed += 1
    return deployed
