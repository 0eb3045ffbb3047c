"""Projects: create, list, show, change, remove."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from db.models import Environment, Project
from db.queries.organisations import organisation_find
from db.queries.projects import (
    NewProject,
    environments_of,
    host_taken,
    project_create,
    project_find,
    project_lock,
    projects_page,
)
from db.queries.removal import project_close
from events.deployments import NewerCommit
from events.previews import ForkPolicy
from producers.api.call import Call
from producers.api.pages import page
from producers.clone_urls import without_credentials
from zeitwork.config import Settings
from zeitwork.errors import Conflict, InvalidInput, NotFound
from zeitwork.fields import (
    Body,
    Branch,
    BranchRule,
    GitHubRepo,
    GitUrl,
    Globs,
    HttpPath,
    Name,
    PageSize,
    RelativePath,
    Slug,
)


class NewProjectBody(Body):
    """What `create` takes; the source is a GitHub repository, or any URL that git understands."""

    organisation: Slug
    slug: Slug
    name: Name | None = None
    github_repo: GitHubRepo | None = None
    github_installation_id: int | None = None
    clone_url: GitUrl | None = None
    default_branch: Branch = "main"
    root_directory: RelativePath = ""
    health_path: HttpPath = "/"
    newer_commit: Literal["cancel", "queue", "all"] = "cancel"
    include_paths: Globs = Field(default_factory=list)
    exclude_paths: Globs = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_source(self) -> NewProjectBody:
        if self.github_repo is None and self.clone_url is None:
            raise ValueError("give github_repo or clone_url")
        return self


class ProjectChanges(Body):
    """What `change` takes; what is not there stays as it is."""

    name: Name | None = None
    root_directory: RelativePath | None = None
    health_path: HttpPath | None = None
    include_paths: Globs | None = None
    exclude_paths: Globs | None = None
    previews_enabled: bool | None = None
    newer_commit: Literal["cancel", "queue", "all"] | None = None
    preview_branches: Annotated[list[BranchRule], Field(max_length=50)] | None = None
    preview_limit: Annotated[int, Field(ge=1, le=1000)] | None = None
    preview_max_age_days: Annotated[int, Field(ge=1, le=365)] | None = None
    # The body's types are not guessed, and JSON has only text for it.
    preview_forks: Annotated[ForkPolicy, BeforeValidator(ForkPolicy)] | None = None


class EnvironmentView(BaseModel):
    """An environment and the address of what it serves; `branch` may be a pattern."""

    id: str
    name: str
    kind: str
    branch: str
    host: str
    url: str
    closing: bool


class ProjectView(BaseModel):
    """What a caller sees."""

    id: str
    organisation_id: str
    slug: str
    name: str
    github_repo: str | None
    github_installation_id: int | None
    clone_url: str | None
    default_branch: str
    root_directory: str
    health_path: str
    newer_commit: str
    include_paths: list[str]
    exclude_paths: list[str]
    previews_enabled: bool
    preview_branches: list[str]
    preview_limit: int
    preview_max_age_days: int
    preview_forks: str
    created_at: datetime
    closing: bool
    environments: list[EnvironmentView]


class ProjectQuery(Body):
    """How `index` pages."""

    after: str | None = None
    limit: PageSize = 100


async def create(call: Call) -> web.Response:
    """`POST /projects`."""
    body = await call.body(NewProjectBody)
    async with call.work.transaction() as tx:
        organisation = await organisation_find(tx.session, body.organisation)
        if organisation is None:
            raise NotFound(f"There is no organisation {body.organisation!r}.")
        if await project_find(tx.session, body.slug) is not None:
            raise Conflict(f"A project {body.slug!r} exists already.")
        new = NewProject(
            organisation_id=organisation.id,
            slug=body.slug,
            name=body.name or body.slug,
            github_repo=body.github_repo,
            github_installation_id=body.github_installation_id,
            clone_url=body.clone_url,
            default_branch=body.default_branch,
            root_directory=body.root_directory,
            health_path=body.health_path,
            newer_commit=NewerCommit(body.newer_commit),
            include_paths=body.include_paths,
            exclude_paths=body.exclude_paths,
        )
        if await host_taken(tx.session, f"{body.slug}.{call.settings.base_domain}"):
            raise Conflict(f"Something is served at {body.slug}.{call.settings.base_domain}.")
        project, environment = await project_create(tx, new, base_domain=call.settings.base_domain)
    return call.reply(201, view(project, [environment], call.settings))


async def index(call: Call) -> web.Response:
    """`GET /projects`."""
    query = call.query(ProjectQuery)
    async with call.database.read() as session:
        rows = await projects_page(session, after=query.after, limit=query.limit)
        views = [
            view(project, await environments_of(session, project.id), call.settings)
            for project in rows
        ]
    return call.reply(200, page(views, limit=query.limit, cursor=views[-1].id if views else None))


async def show(call: Call) -> web.Response:
    """`GET /projects/{project}`, by id or slug."""
    async with call.database.read() as session:
        project = await found(session, call)
        environments = await environments_of(session, project.id)
    return call.reply(200, view(project, environments, call.settings))


async def change(call: Call) -> web.Response:
    """`PATCH /projects/{project}`; previews follow within seconds."""
    changes = await call.body(ProjectChanges)
    async with call.work.transaction() as tx:
        project = await project_lock(tx.session, (await found(tx.session, call)).id)
        if project is None or project.closing_at is not None:
            raise Conflict("The project is being removed.")
        for name in changes.model_fields_set:
            value = getattr(changes, name)
            if value is None:
                raise InvalidInput(f"{name} cannot be null: leave it out to keep it.")
            setattr(project, name, value)
        environments = await environments_of(tx.session, project.id)
    return call.reply(200, view(project, environments, call.settings))


async def remove(call: Call) -> web.Response:
    """`DELETE /projects/{project}`: everything stops now, and then goes."""
    async with call.work.transaction() as tx:
        project = await project_lock(tx.session, (await found(tx.session, call)).id)
        if project is None:
            raise NotFound(f"There is no project {call.path('project')!r}.")
        await project_close(tx, project, reason="the project is removed")
        environments = await environments_of(tx.session, project.id)
    return call.reply(202, view(project, environments, call.settings))


async def found(session: Any, call: Call) -> Project:
    """The project of the path, by id or slug.

    Raises:
        NotFound: there is none.
    """
    project = await project_find(session, call.path("project"))
    if project is None:
        raise NotFound(f"There is no project {call.path('project')!r}.")
    return project


def url_of(host: str, settings: Settings) -> str:
    """The address of a host for visitors."""
    return settings.url_of(host)


def view(project: Project, environments: Sequence[Environment], settings: Settings) -> ProjectView:
    return ProjectView(
        id=project.id,
        organisation_id=project.organisation_id,
        slug=project.slug,
        name=project.name,
        github_repo=project.github_repo,
        github_installation_id=project.github_installation_id,
        clone_url=without_credentials(project.clone_url) if project.clone_url else None,
        default_branch=project.default_branch,
        root_directory=project.root_directory,
        health_path=project.health_path,
        newer_commit=project.newer_commit,
        include_paths=project.include_paths,
        exclude_paths=project.exclude_paths,
        previews_enabled=project.previews_enabled,
        preview_branches=project.preview_branches,
        preview_limit=project.preview_limit,
        preview_max_age_days=project.preview_max_age_days,
        preview_forks=str(project.preview_forks),
        created_at=project.created_at,
        closing=project.closing_at is not None,
        environments=[environment_view(each, settings) for each in environments],
    )


def environment_view(environment: Environment, settings: Settings) -> EnvironmentView:
    return EnvironmentView(
        id=environment.id,
        name=environment.name,
        kind=str(environment.kind),
        branch=environment.branch,
        host=environment.host,
        url=url_of(environment.host, settings),
        closing=environment.closing_at is not None,
    )
