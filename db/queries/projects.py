"""Projects and environments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Deployment, Environment, Project
from db.session import Transaction
from events.deployments import NewerCommit
from events.environments import EnvironmentCreated, EnvironmentKind
from events.projects import ProjectCreated
from zeitwork import ids

PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class NewProject:
    """What a person says about a project when creating it."""

    organisation_id: str
    slug: str
    name: str
    github_repo: str | None
    github_installation_id: int | None
    clone_url: str | None
    default_branch: str
    root_directory: str
    health_path: str
    newer_commit: NewerCommit = NewerCommit.CANCEL
    include_paths: Sequence[str] = ()
    exclude_paths: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class NewEnvironment:
    """A further environment of a project."""

    name: str
    kind: EnvironmentKind
    branch: str
    host: str


async def project_create(
    tx: Transaction, new: NewProject, *, base_domain: str
) -> tuple[Project, Environment]:
    """A project and its production environment at `slug.base_domain`."""
    project = Project(
        id=ids.new(ids.Prefix.PROJECT),
        organisation_id=new.organisation_id,
        slug=new.slug,
        name=new.name,
        github_repo=new.github_repo.lower() if new.github_repo else None,
        github_installation_id=new.github_installation_id,
        clone_url=new.clone_url,
        default_branch=new.default_branch,
        root_directory=new.root_directory,
        health_path=new.health_path,
        newer_commit=new.newer_commit,
        include_paths=list(new.include_paths),
        exclude_paths=list(new.exclude_paths),
    )
    environment = Environment(
        id=ids.new(ids.Prefix.ENVIRONMENT),
        organisation_id=new.organisation_id,
        project_id=project.id,
        name=PRODUCTION,
        branch=new.default_branch,
        host=f"{new.slug}.{base_domain}",
    )
    tx.session.add(project)
    await tx.session.flush()
    tx.session.add(environment)
    tx.emit(
        ProjectCreated(
            project_id=project.id,
            environment_id=environment.id,
            slug=new.slug,
            github_repo=project.github_repo,
        ),
        subject=project.id,
        organisation_id=new.organisation_id,
        project_id=project.id,
    )
    return project, environment


async def environment_create(tx: Transaction, project: Project, new: NewEnvironment) -> Environment:
    """A further environment; its host answers from now on, with nothing behind it yet."""
    environment = Environment(
        id=ids.new(ids.Prefix.ENVIRONMENT),
        organisation_id=project.organisation_id,
        project_id=project.id,
        name=new.name,
        kind=new.kind,
        branch=new.branch,
        host=new.host,
    )
    tx.session.add(environment)
    await tx.session.flush()
    tx.emit(
        EnvironmentCreated(
            environment_id=environment.id, project_id=project.id, kind=environment.kind
        ),
        subject=environment.id,
        organisation_id=project.organisation_id,
        project_id=project.id,
    )
    return environment


async def project_find(session: AsyncSession, reference: str) -> Project | None:
    """By id or slug."""
    by_id = reference.startswith("prj_")
    column = Project.id if by_id else Project.slug
    return (await session.execute(select(Project).where(column == reference))).scalar_one_or_none()


async def project_lock(session: AsyncSession, project_id: str) -> Project | None:
    """The project's row, locked; lock it before its environments. Others may still refer to it."""
    query = (
        select(Project)
        .where(Project.id == project_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def project_find_by_github_repo(
    session: AsyncSession, repo: str, *, installation_id: int | None
) -> Sequence[Project]:
    """Projects on a repository (`owner/name`, any case); several in a monorepo.

    A project that names an installation only takes pushes of that installation.
    """
    query = (
        select(Project)
        .where(Project.github_repo == repo.lower(), Project.closing_at.is_(None))
        .where(
            or_(
                Project.github_installation_id.is_(None),
                Project.github_installation_id == installation_id,
            )
        )
        .order_by(Project.id)
    )
    return (await session.execute(query)).scalars().all()


async def projects_page(
    session: AsyncSession, *, after: str | None, limit: int
) -> Sequence[Project]:
    query = select(Project).order_by(Project.id).limit(limit)
    if after is not None:
        query = query.where(Project.id > after)
    return (await session.execute(query)).scalars().all()


async def environments_of(session: AsyncSession, project_id: str) -> Sequence[Environment]:
    query = (
        select(Environment)
        .where(Environment.project_id == project_id)
        .order_by(Environment.created_at, Environment.id)
    )
    return (await session.execute(query)).scalars().all()


async def environment_lock(session: AsyncSession, environment_id: str) -> Environment:
    """The environment's row, locked: everything that moves its deployments goes one by one."""
    return (
        await session.execute(
            select(Environment)
            .where(Environment.id == environment_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    ).scalar_one()


async def environment_lock_if_there(
    session: AsyncSession, environment_id: str
) -> Environment | None:
    """As `environment_lock`, for events that may outlive the environment."""
    query = (
        select(Environment)
        .where(Environment.id == environment_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def environment_named(
    session: AsyncSession, project_id: str, name: str
) -> Environment | None:
    query = select(Environment).where(
        Environment.project_id == project_id, Environment.name == name
    )
    return (await session.execute(query)).scalar_one_or_none()


async def host_taken(session: AsyncSession, host: str, *, by_other_than: str | None = None) -> bool:
    """Whether an environment, or a commit of one, is served there; one may be left out."""
    environments = select(Environment.id).where(Environment.host == host)
    commits = select(Deployment.environment_id).where(Deployment.host == host).distinct()
    if by_other_than is not None:
        environments = environments.where(Environment.id != by_other_than)
        commits = commits.where(Deployment.environment_id != by_other_than)
    return (await session.execute(environments.union(commits).limit(1))).first() is not None
