"""The queue of builds: what waits and runs, who takes what, and which machines build."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Row, and_, delete, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Build, BuilderHost, Deployment, EventLog, Project
from db.queries.build_logs import build_logs_end
from events.build_order import Expectation, Limits, Queue, Running, Waiting, forecast
from events.builds import BuildRequested
from events.deployments import NewerCommit
from events.states import BuildState

USUAL_SECONDS = 60.0  # of a project that has built nothing yet
_LOCK = 0x5A57_0B01  # "ZW", the queue of builds
_HISTORY = timedelta(days=7)
_BUILDER_SILENT = timedelta(seconds=40)  # the lease of a build
_BUILDER_GONE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Thread:
    """The thread of causes that a build belongs to, and where its log ends so far.

    Attributes:
        trusted: see `Deployment.trusted`.
    """

    correlation_id: str
    traceparent: str | None
    causation_id: str | None
    last_line: int
    trusted: bool


async def queue_lock(session: AsyncSession) -> None:
    """Nobody else takes a build until this transaction ends; what is counted stays true.

    Take it before any row of a build is locked.
    """
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


async def queue_read(
    session: AsyncSession,
    now: datetime,
    *,
    of: Literal["candidates", "passed", "everything"],
    limit: int = 500,
) -> Queue:
    """What waits and what runs.

    Args:
        of: "candidates" reads the first build of each environment, since no other of it can be
            next; "passed" those of them that a builder has passed over; "everything" the first
            `limit` in the queue.
    """
    running = await session.execute(_facts(Build.builder, Build.started_at).where(_held(now)))
    idle = or_(
        Build.state == BuildState.QUEUED,
        and_(
            Build.state == BuildState.RUNNING,
            or_(Build.lease_until.is_(None), Build.lease_until <= now),
        ),
    )
    facts = _facts(Build.priority, Build.state, Project.newer_commit).where(
        Build.finished_at.is_(None), idle
    )
    if of == "everything":
        facts = facts.order_by(Build.priority, Build.id).limit(limit)
    else:
        if of == "passed":
            facts = facts.where(Build.passed_at.is_not(None))
        facts = facts.ext(distinct_on(Deployment.environment_id)).order_by(
            Deployment.environment_id, Build.state.desc(), Build.id
        )
    waiting = await session.execute(facts)
    return Queue([_waiting(row) for row in waiting], [_running(row) for row in running])


async def queue_seconds(
    session: AsyncSession, project_ids: Collection[str], now: datetime
) -> dict[str, float]:
    """How long a build of each project usually takes."""
    lasted = func.extract("epoch", Build.finished_at - Build.started_at)
    query = (
        select(Build.project_id, func.avg(lasted))
        .where(
            Build.project_id.in_(project_ids),
            Build.state == BuildState.SUCCEEDED,
            Build.finished_at > now - _HISTORY,
        )
        .group_by(Build.project_id)
    )
    known = {project: float(seconds) for project, seconds in await session.execute(query)}
    return {project: known.get(project, USUAL_SECONDS) for project in project_ids}


async def queue_forecast(
    session: AsyncSession, now: datetime, *, per_organisation: int
) -> dict[str, Expectation]:
    """The place of each waiting build in the queue, and when it may begin."""
    queue = await queue_read(session, now, of="everything")
    projects = {each.project_id for each in queue.waiting}
    projects |= {each.project_id for each in queue.running}
    return forecast(
        queue,
        Limits(per_organisation),
        slots=await builder_slots(session, now),
        seconds=await queue_seconds(session, projects, now),
        now=now,
    )


async def build_thread(session: AsyncSession, build: Build) -> Thread:
    """What whoever takes a build has to know of it besides its row."""
    request = (
        select(EventLog.event_id)
        .where(EventLog.aggregate_id == build.id, EventLog.type == BuildRequested.event_type)
        .order_by(EventLog.id.desc())
        .limit(1)
    )
    query = select(
        Deployment.correlation_id,
        Deployment.traceparent,
        request.scalar_subquery(),
        build_logs_end(build.id),
        Deployment.trusted,
    ).where(Deployment.id == build.deployment_id)
    return Thread(*(await session.execute(query)).one())


async def builds_passed(session: AsyncSession) -> bool:
    """Whether any build waits for somebody to make room."""
    query = select(exists().where(Build.finished_at.is_(None), Build.passed_at.is_not(None)))
    return bool((await session.execute(query)).scalar_one())


async def build_passed_over(session: AsyncSession, asked: str, now: datetime) -> None:
    """Note at one build that waits that its request, or another's in its place, was used up.

    It is `asked` if that waits and was not noted before, else the next one.
    """
    unnoted = (
        select(Build.id)
        .where(Build.state == BuildState.QUEUED, Build.passed_at.is_(None))
        .order_by((Build.id == asked).desc(), Build.priority, Build.id)
        .limit(1)
    )
    await session.execute(
        update(Build)
        .where(Build.id == unnoted.scalar_subquery(), Build.state == BuildState.QUEUED)
        .values(passed_at=now)
        .execution_options(synchronize_session=False)
    )


async def builder_seen(session: AsyncSession, name: str, *, slots: int, now: datetime) -> None:
    """A machine says that it builds; those that have not for a day are forgotten."""
    await session.execute(
        insert(BuilderHost)
        .values(name=name, slots=slots, seen_at=now)
        .on_conflict_do_update(
            index_elements=[BuilderHost.name], set_={"slots": slots, "seen_at": now}
        )
    )
    await session.execute(delete(BuilderHost).where(BuilderHost.seen_at < now - _BUILDER_GONE))


async def builder_slots(session: AsyncSession, now: datetime) -> int:
    """How many builds all machines that are there take at once."""
    query = select(func.coalesce(func.sum(BuilderHost.slots), 0)).where(
        BuilderHost.seen_at > now - _BUILDER_SILENT
    )
    return int((await session.execute(query)).scalar_one())


def _facts(*more: Any) -> Any:
    return (
        select(Build.id, Build.organisation_id, Build.project_id, Deployment.environment_id, *more)
        .join(Deployment, Deployment.id == Build.deployment_id)
        .join(Project, Project.id == Build.project_id)
    )


def _held(now: datetime) -> Any:
    return and_(
        Build.finished_at.is_(None), Build.state == BuildState.RUNNING, Build.lease_until > now
    )


def _waiting(row: Row[Any]) -> Waiting:
    return Waiting(
        build_id=row.id,
        organisation_id=row.organisation_id,
        project_id=row.project_id,
        environment_id=row.environment_id,
        priority=row.priority,
        interrupted=row.state is BuildState.RUNNING,
        serial=row.newer_commit == NewerCommit.QUEUE,
    )


def _running(row: Row[Any]) -> Running:
    return Running(
        build_id=row.id,
        organisation_id=row.organisation_id,
        project_id=row.project_id,
        environment_id=row.environment_id,
        builder=row.builder or "",
        started_at=row.started_at,
    )
