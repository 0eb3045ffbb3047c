"""Deployments: creating them with their build, moving them, finding them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Artifact, Build, Deployment, Environment, Project
from db.queries.builds import builds_cancel
from db.queries.projects import environment_lock
from db.queries.releases import deployments_releasing
from db.queries.variables import variables_pin
from db.session import Transaction
from events import deployments as facts
from events.builds import BuildRequested, Priority
from events.deployments import NewerCommit
from events.environments import EnvironmentKind
from events.states import BuildState, DeploymentState, check
from zeitwork import clock, context, ids, tracing

# How long a deployment may stay in a state before its reconciler ends it. A queue may be long; a
# build has its own limit (15 minutes by default); instances have their health timeout.
DEADLINES = {
    DeploymentState.QUEUED: timedelta(hours=2),
    DeploymentState.BUILDING: timedelta(minutes=30),
    DeploymentState.DEPLOYING: timedelta(minutes=5),
}
OPEN_STATES = tuple(DEADLINES)


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be deployed, and who says so; see `Deployment` for `trusted` and `host`.

    Code that is not trusted gets no variables.
    """

    commit_sha: str
    ref: str
    commit_message: str
    clone_url: str
    actor: str
    trusted: bool = True
    host: str | None = None


async def deployment_create(
    tx: Transaction, environment: Environment, source: Source, *, root_directory: str
) -> tuple[Deployment, Build]:
    """A queued deployment and its build, with the next number of the (locked) environment.

    Older ones that have not been built and released are cancelled, unless the project wants it
    otherwise.
    """
    environment.last_number += 1
    deployment = Deployment(
        id=ids.new(ids.Prefix.DEPLOYMENT),
        organisation_id=environment.organisation_id,
        project_id=environment.project_id,
        environment_id=environment.id,
        number=environment.last_number,
        state=DeploymentState.QUEUED,
        commit_sha=source.commit_sha,
        ref=source.ref,
        commit_message=source.commit_message,
        actor=source.actor,
        replicas=environment.replicas,
        trusted=source.trusted,
        host=source.host,
        correlation_id=context.current().correlation_id or "",
        traceparent=tracing.current_traceparent(),
        deadline_at=clock.now() + DEADLINES[DeploymentState.QUEUED],
    )
    build = _build(deployment, environment, source, root_directory=root_directory)
    tx.session.add(deployment)
    await tx.session.flush()
    await variables_pin(
        tx.session,
        deployment,
        preview=environment.kind is EnvironmentKind.PREVIEW,
        trusted=source.trusted,
    )
    tx.session.add(build)
    created = tx.emit(
        facts.DeploymentCreated(
            deployment_id=deployment.id,
            environment_id=environment.id,
            number=deployment.number,
            commit_sha=source.commit_sha,
            ref=source.ref,
        ),
        subject=deployment.id,
        organisation_id=environment.organisation_id,
        project_id=environment.project_id,
    )
    deployment.correlation_id = deployment.correlation_id or created.correlation_id
    with context.bind(correlation_id=deployment.correlation_id, causation_id=created.id):
        tx.emit(
            BuildRequested(build_id=build.id, deployment_id=deployment.id),
            subject=build.id,
            organisation_id=environment.organisation_id,
            project_id=environment.project_id,
        )
    project = await tx.session.get_one(Project, environment.project_id)
    if project.newer_commit == NewerCommit.CANCEL:
        with context.bind(causation_id=created.id):
            await _cancel_older(tx, deployment)
    return deployment, build


def _build(
    deployment: Deployment, environment: Environment, source: Source, *, root_directory: str
) -> Build:
    preview = environment.kind is EnvironmentKind.PREVIEW
    return Build(
        id=ids.new(ids.Prefix.BUILD),
        organisation_id=environment.organisation_id,
        project_id=environment.project_id,
        deployment_id=deployment.id,
        state=BuildState.QUEUED,
        clone_url=source.clone_url,
        commit_sha=source.commit_sha,
        root_directory=root_directory,
        priority=Priority.PREVIEW if preview else Priority.PRODUCTION,
    )


async def deployment_cancel(tx: Transaction, deployment_id: str, *, code: str, detail: str) -> bool:
    """End a deployment that does not serve yet, and its build; False when it is past that."""
    deployment = await deployment_find(tx.session, deployment_id)
    if deployment is None:
        return False
    await environment_lock(tx.session, deployment.environment_id)
    locked = await deployment_lock(tx.session, deployment_id)
    if locked is None or locked.state not in OPEN_STATES:
        return False
    await builds_cancel(tx, deployment_id)
    deployment_move(tx, locked, DeploymentState.CANCELLED, code=code, detail=detail)
    return True


async def _cancel_older(tx: Transaction, newer: Deployment) -> None:
    olders = await deployments_older(tx.session, newer.environment_id, newer.number)
    releasing = await deployments_releasing(tx.session, [each.id for each in olders])
    for older in olders:
        unbuilt = older.state in {DeploymentState.QUEUED, DeploymentState.BUILDING}
        if unbuilt or older.id in releasing:
            await builds_cancel(tx, older.id)
            deployment_move(
                tx,
                older,
                DeploymentState.CANCELLED,
                code="newer_commit",
                detail=f"Deployment {newer.number}, of a newer commit, took its place.",
            )


def deployment_move(
    tx: Transaction,
    deployment: Deployment,
    target: DeploymentState,
    *,
    code: str | None = None,
    detail: str | None = None,
) -> None:
    """Move a (locked) deployment and say so; `code` and `detail` say why it failed or was ended.

    Raises:
        IllegalMove: the state machine does not know the move.
    """
    check(deployment.state, target)
    now = clock.now()
    deployment.state = target
    deployment.waiting_reason = None
    limit = DEADLINES.get(target)
    deployment.deadline_at = now + limit if limit is not None else None
    if target is DeploymentState.ACTIVE:
        deployment.activated_at = now
    elif limit is None:
        deployment.finished_at = now
    if code is not None:
        deployment.error_code, deployment.error_detail = code, detail
    tx.emit(
        _fact(deployment, target),
        subject=deployment.id,
        version=deployment.version + 1,
        organisation_id=deployment.organisation_id,
        project_id=deployment.project_id,
    )


def _fact(deployment: Deployment, target: DeploymentState) -> facts.DeploymentFact:
    said = {
        "deployment_id": deployment.id,
        "environment_id": deployment.environment_id,
        "number": deployment.number,
    }
    match target:
        case DeploymentState.FAILED:
            return facts.DeploymentFailed(
                **said,
                code=deployment.error_code or "internal_error",
                detail=deployment.error_detail or "",
            )
        case DeploymentState.BUILDING:
            return facts.DeploymentBuilding(**said)
        case DeploymentState.DEPLOYING:
            return facts.DeploymentDeploying(**said)
        case DeploymentState.ACTIVE:
            return facts.DeploymentActivated(**said)
        case DeploymentState.SUPERSEDED:
            return facts.DeploymentSuperseded(**said)
        case DeploymentState.CANCELLED:
            return facts.DeploymentCancelled(**said)
        case DeploymentState.STOPPED:
            return facts.DeploymentStopped(**said)
        case DeploymentState.QUEUED:
            raise AssertionError("nothing moves back to queued")


def deploying_until(*, limit_seconds: int | None = None) -> datetime:
    """When a deployment that makes its next step now is overdue.

    Args:
        limit_seconds: how long its release command may take besides.
    """
    return (
        clock.now() + DEADLINES[DeploymentState.DEPLOYING] + timedelta(seconds=limit_seconds or 0)
    )


async def deployment_find(session: AsyncSession, deployment_id: str) -> Deployment | None:
    return await session.get(Deployment, deployment_id)


async def deployment_runtimes(
    session: AsyncSession, deployment_ids: Collection[str]
) -> Mapping[str, str]:
    """What the artifacts of deployments need to run, by deployment."""
    query = (
        select(
            Deployment.id,
            func.coalesce(Artifact.manifest["runtime"].astext, "process").label("runtime"),
        )
        .outerjoin(Artifact, Artifact.id == Deployment.artifact_id)
        .where(Deployment.id.in_(deployment_ids))
    )
    return {row.id: row.runtime for row in await session.execute(query)}


async def deployment_lock(session: AsyncSession, deployment_id: str) -> Deployment | None:
    """The deployment's row, locked; lock its environment first."""
    query = (
        select(Deployment)
        .where(Deployment.id == deployment_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def deployment_active(session: AsyncSession, environment_id: str) -> Deployment | None:
    """The one that serves."""
    query = select(Deployment).where(
        Deployment.environment_id == environment_id, Deployment.state == DeploymentState.ACTIVE
    )
    return (await session.execute(query)).scalar_one_or_none()


async def deployments_older(
    session: AsyncSession, environment_id: str, number: int
) -> Sequence[Deployment]:
    """Deployments of the environment below `number` that are not in a terminal state, locked."""
    query = (
        select(Deployment)
        .where(
            Deployment.environment_id == environment_id,
            Deployment.number < number,
            Deployment.state.in_([*OPEN_STATES, DeploymentState.ACTIVE]),
        )
        .order_by(Deployment.number)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalars().all()


async def deployments_running(session: AsyncSession, environment_id: str) -> Sequence[Deployment]:
    """Deployments of the environment that are not in a terminal state, locked."""
    query = (
        select(Deployment)
        .where(
            Deployment.environment_id == environment_id,
            Deployment.state.in_([*OPEN_STATES, DeploymentState.ACTIVE]),
        )
        .order_by(Deployment.number)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalars().all()


async def deployments_overdue(
    session: AsyncSession, now: datetime, *, limit: int
) -> Sequence[Deployment]:
    query = select(Deployment).where(Deployment.deadline_at < now).limit(limit)
    return (await session.execute(query)).scalars().all()


async def deployments_page(
    session: AsyncSession, *, project_id: str | None, before: str | None, limit: int
) -> Sequence[Deployment]:
    """Newest first; `before` is the last id of the page before."""
    query = select(Deployment).order_by(Deployment.id.desc()).limit(limit)
    if project_id is not None:
        query = query.where(Deployment.project_id == project_id)
    if before is not None:
        query = query.where(Deployment.id < before)
    return (await session.execute(query)).scalars().all()
