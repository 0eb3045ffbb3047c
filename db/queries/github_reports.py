"""What GitHub was told about deployments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Deployment, Environment, GitHubInstallation, GitHubReport, Project
from events.states import InstallationState


@dataclass(frozen=True, slots=True)
class Subject:
    """A deployment that GitHub is to hear of.

    Attributes:
        newest: no later deployment of its environment is of the same commit.
    """

    deployment: Deployment
    environment: Environment
    project: Project
    installation_id: int
    repository: str
    newest: bool


async def report_subject(session: AsyncSession, deployment_id: str) -> Subject | None:
    """None when there is nobody to tell: no installation that is active and the project's own."""
    query = (
        select(Deployment, Environment, Project)
        .join(Environment, Environment.id == Deployment.environment_id)
        .join(Project, Project.id == Deployment.project_id)
        .join(GitHubInstallation, GitHubInstallation.id == Project.github_installation_id)
        .where(
            Deployment.id == deployment_id,
            GitHubInstallation.state == InstallationState.ACTIVE,
            or_(
                GitHubInstallation.organisation_id.is_(None),
                GitHubInstallation.organisation_id == Project.organisation_id,
            ),
        )
        .execution_options(populate_existing=True)
    )
    found = (await session.execute(query)).one_or_none()
    if found is None:
        return None
    deployment, environment, project = found
    if project.github_installation_id is None or project.github_repo is None:
        return None
    later = select(func.count()).where(
        Deployment.environment_id == deployment.environment_id,
        Deployment.commit_sha == deployment.commit_sha,
        Deployment.number > deployment.number,
    )
    newest = (await session.execute(later)).scalar_one() == 0
    return Subject(
        deployment,
        environment,
        project,
        project.github_installation_id,
        project.github_repo,
        newest,
    )


async def report_take(
    session: AsyncSession, deployment: Deployment, *, seconds: float
) -> GitHubReport | None:
    """The report, held until `seconds` have passed; None while somebody else holds it."""
    made = insert(GitHubReport).values(
        deployment_id=deployment.id, organisation_id=deployment.organisation_id, posted={}
    )
    await session.execute(made.on_conflict_do_nothing())
    until = func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    taken = await session.execute(
        update(GitHubReport)
        .where(
            GitHubReport.deployment_id == deployment.id,
            or_(
                GitHubReport.lease_until.is_(None),
                GitHubReport.lease_until < func.clock_timestamp(),
            ),
        )
        .values(lease_until=until)
        .returning(GitHubReport)
        .execution_options(populate_existing=True)
    )
    return taken.scalar_one_or_none()


async def report_note(
    session: AsyncSession, report: GitHubReport, *, lease: datetime | None
) -> None:
    """Write down what was posted, while the lease is still ours; afterwards it is let go."""
    await session.execute(
        update(GitHubReport)
        .where(
            GitHubReport.deployment_id == report.deployment_id,
            GitHubReport.lease_until == lease,
        )
        .values(
            github_deployment_id=report.github_deployment_id,
            github_check_id=report.github_check_id,
            posted=report.posted,
            refused=report.refused,
            lease_until=None,
        )
    )
