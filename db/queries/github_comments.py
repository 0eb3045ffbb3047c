"""Comments on pull requests: what they are about, and who may post one now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import (
    Build,
    Deployment,
    Environment,
    GitHubComment,
    GitHubInstallation,
    Preview,
    Project,
)
from events.states import InstallationState
from zeitwork import clock


@dataclass(frozen=True, slots=True)
class Topic:
    """A pull request, as one organisation sees it."""

    organisation_id: str
    repository: str
    number: int


@dataclass(frozen=True, slots=True)
class Sight:
    """A project's preview as it is now; `deployment` is its newest one."""

    project: Project
    preview: Preview
    environment: Environment | None
    deployment: Deployment | None
    build_id: str | None


async def topic_of_deployment(session: AsyncSession, deployment_id: str) -> Topic | None:
    """None for what is no preview of a pull request, or gone."""
    query = (
        select(Preview.organisation_id, Project.github_repo, Preview.pull_number)
        .join(Project, Project.id == Preview.project_id)
        .join(Deployment, Deployment.environment_id == Preview.environment_id)
        .where(Deployment.id == deployment_id)
    )
    found = (await session.execute(query)).one_or_none()
    if found is None or found[1] is None or found[2] is None:
        return None
    return Topic(found[0], found[1], found[2])


async def comment_installation(session: AsyncSession, topic: Topic) -> int | None:
    """Through which installation the organisation may comment; None: through none.

    A project that is gone leaves the installation of the comment that told of it.
    """
    named = select(Project.github_installation_id).where(
        Project.organisation_id == topic.organisation_id,
        Project.github_repo == topic.repository,
    )
    used = select(GitHubComment.installation_id).where(_about(topic))
    query = (
        select(GitHubInstallation.id)
        .where(
            GitHubInstallation.state == InstallationState.ACTIVE,
            or_(
                GitHubInstallation.organisation_id.is_(None),
                GitHubInstallation.organisation_id == topic.organisation_id,
            ),
            or_(GitHubInstallation.id.in_(named), GitHubInstallation.id.in_(used)),
        )
        .order_by(GitHubInstallation.id.in_(named).desc(), GitHubInstallation.id.desc())
        .limit(1)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def comment_sights(
    session: AsyncSession, topic: Topic, *, installation_id: int
) -> Sequence[Sight]:
    """The previews of the pull request that the installation tells of, by their projects' slugs."""
    newest = (
        select(func.max(Deployment.number))
        .where(Deployment.environment_id == Environment.id)
        .correlate(Environment)
        .scalar_subquery()
    )
    build = (
        select(Build.id)
        .where(Build.deployment_id == Deployment.id)
        .order_by(Build.id.desc())
        .limit(1)
        .correlate(Deployment)
        .scalar_subquery()
    )
    query = (
        select(Project, Preview, Environment, Deployment, build)
        .join(Preview, Preview.project_id == Project.id)
        .outerjoin(Environment, Environment.id == Preview.environment_id)
        .outerjoin(
            Deployment,
            (Deployment.environment_id == Environment.id) & (Deployment.number == newest),
        )
        .where(
            Project.organisation_id == topic.organisation_id,
            Project.github_repo == topic.repository,
            Project.github_installation_id == installation_id,
            Preview.pull_number == topic.number,
        )
        .order_by(Project.slug)
        .execution_options(populate_existing=True)
    )
    return [
        Sight(project, preview, environment, deployment, build_id)
        for project, preview, environment, deployment, build_id in await session.execute(query)
    ]


async def comment_take(
    session: AsyncSession, topic: Topic, *, installation_id: int, seconds: float
) -> GitHubComment | None:
    """The comment, held until `seconds` have passed; None while somebody else holds it."""
    made = insert(GitHubComment).values(
        organisation_id=topic.organisation_id,
        repository=topic.repository,
        number=topic.number,
        installation_id=installation_id,
        shown={},
        noted_at=clock.now(),
    )
    await session.execute(made.on_conflict_do_nothing())
    until = func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    taken = await session.execute(
        update(GitHubComment)
        .where(
            _about(topic),
            or_(
                GitHubComment.lease_until.is_(None),
                GitHubComment.lease_until < func.clock_timestamp(),
            ),
        )
        .values(lease_until=until, installation_id=installation_id)
        .returning(GitHubComment)
        .execution_options(populate_existing=True)
    )
    return taken.scalar_one_or_none()


async def comment_note(
    session: AsyncSession, comment: GitHubComment, *, lease: datetime | None
) -> None:
    """Write down what was posted, while the lease is still ours; afterwards it is let go."""
    topic = Topic(comment.organisation_id, comment.repository, comment.number)
    await session.execute(
        update(GitHubComment)
        .where(_about(topic), GitHubComment.lease_until == lease)
        .values(
            comment_id=comment.comment_id,
            shown=comment.shown,
            digest=comment.digest,
            settled=comment.settled,
            settled_detail=comment.settled_detail,
            lease_until=None,
            noted_at=clock.now(),
        )
    )


async def comments_purge(session: AsyncSession, before: datetime) -> None:
    """Forget comments of which nothing was heard since, and whose previews are gone."""
    preview = select(Preview.id).where(
        Preview.organisation_id == GitHubComment.organisation_id,
        Preview.project_id == Project.id,
        Project.github_repo == GitHubComment.repository,
        Preview.pull_number == GitHubComment.number,
    )
    await session.execute(
        delete(GitHubComment).where(GitHubComment.noted_at < before, ~preview.exists()),
        execution_options={"synchronize_session": False},
    )


def _about(topic: Topic) -> ColumnElement[bool]:
    return (
        (GitHubComment.organisation_id == topic.organisation_id)
        & (GitHubComment.repository == topic.repository)
        & (GitHubComment.number == topic.number)
    )
