"""Triggers: noting what asked for deployments, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Deployment, Project, Trigger
from db.session import Transaction
from events.states import TriggerState, check
from events.triggers import DeployRequested, TriggerKind
from zeitwork import clock, ids


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for what; see `Trigger`."""

    kind: TriggerKind
    ref: str
    actor: str
    commit_sha: str | None = None
    message: str = ""
    delivery_id: str | None = None
    clone_url: str | None = None


def trigger_decided(
    tx: Transaction, project: Project, asked: Asked, became: Deployment | str
) -> Trigger:
    """Note what was asked and answered in one step: a deployment, or the reason why not."""
    trigger = _new(project, asked)
    tx.session.add(trigger)
    if isinstance(became, Deployment):
        trigger.state, trigger.deployment_id = TriggerState.DEPLOYED, became.id
        trigger.environment_id = became.environment_id
    else:
        trigger.state, trigger.reason = TriggerState.SKIPPED, became
    trigger.decided_at = clock.now()
    return trigger


def trigger_request(
    tx: Transaction, project: Project, asked: Asked, *, environment_id: str
) -> Trigger:
    """Have a reference looked up and deployed."""
    trigger = _new(project, asked)
    trigger.state, trigger.environment_id = TriggerState.PENDING, environment_id
    tx.session.add(trigger)
    tx.emit(
        DeployRequested(trigger_id=trigger.id),
        subject=trigger.id,
        organisation_id=project.organisation_id,
        project_id=project.id,
    )
    return trigger


def trigger_finish(trigger: Trigger, became: Deployment | str) -> None:
    """Decide a (locked) pending trigger: a deployment, or why it failed."""
    failed = isinstance(became, str)
    target = TriggerState.FAILED if failed else TriggerState.DEPLOYED
    check(trigger.state, target)
    trigger.state = target
    trigger.decided_at = clock.now()
    if isinstance(became, Deployment):
        trigger.deployment_id, trigger.commit_sha = became.id, became.commit_sha
    else:
        trigger.reason = became


async def trigger_find(session: AsyncSession, trigger_id: str) -> Trigger | None:
    return await session.get(Trigger, trigger_id)


async def trigger_lock(session: AsyncSession, trigger_id: str) -> Trigger | None:
    query = (
        select(Trigger)
        .where(Trigger.id == trigger_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def triggers_page(
    session: AsyncSession, *, project_id: str, before: str | None, limit: int
) -> Sequence[Trigger]:
    """Newest first; `before` is the last id of the page before."""
    query = (
        select(Trigger)
        .where(Trigger.project_id == project_id)
        .order_by(Trigger.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(Trigger.id < before)
    return (await session.execute(query)).scalars().all()


async def triggers_overdue(
    session: AsyncSession, *, before: datetime, limit: int
) -> Sequence[Trigger]:
    """Triggers that nobody has decided since."""
    query = (
        select(Trigger)
        .where(Trigger.decided_at.is_(None), Trigger.created_at < before)
        .order_by(Trigger.created_at)
        .limit(limit)
    )
    return (await session.execute(query)).scalars().all()


async def triggers_purge(session: AsyncSession, before: datetime) -> None:
    await session.execute(
        delete(Trigger).where(Trigger.decided_at < before),
        execution_options={"synchronize_session": False},
    )


def _new(project: Project, asked: Asked) -> Trigger:
    return Trigger(
        id=ids.new(ids.Prefix.TRIGGER),
        organisation_id=project.organisation_id,
        project_id=project.id,
        delivery_id=asked.delivery_id,
        kind=asked.kind,
        ref=asked.ref,
        commit_sha=asked.commit_sha,
        clone_url=asked.clone_url,
        message=asked.message,
        actor=asked.actor,
    )
