"""Projects: create, list, show, change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, model_validator

from db.models import Environment, Project
from db.queries.organisations import organisation_find
from db.queries.projects import (
    NewProject,
    environments_of,
    project_create,
    project_find,
    projects_page,
)
from events.deployments import NewerCommit
from producers.api.call import Call
from producers.api.pages import page
from producers.clone_urls import without_credentials
from zeitwork.config import Settings
from zeitwork.errors import Conflict, NotFound
from zeitwork.fields import (
    Body,
    Branch,
    GitHubRepo,
    GitUrl,
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

    @model_validator(mode="after")
    def _has_source(self) -> NewProjectBody:
        if self.github_repo is None and self.clone_url is None:
            raise ValueError("give github_repo or clone_url")
        return self


class ProjectChange(Body):
    """What `change` takes; what is left out stays."""

    newer_commit: Literal["cancel", "queue", "all"] | None = None


class EnvironmentView(BaseModel):
    """An environment and the address of what it serves."""

    id: str
    name: str
    branch: str
    host: str
    url: str


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
    created_at: datetime
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
        )
        project, environment = await project_create(tx, new, base_domain=call.settings.base_domain)
    return call.reply(201, view(project, [environment], call.settings))


async def index(call: Call) -> web.Response:
    """`GET /projects`."""
    query = call.query(ProjectQuery)
    async with call.database.read() as session:
        found = await projects_page(session, after=query.after, limit=query.limit)
        views = [
            view(project, await environments_of(session, project.id), call.settings)
            for project in found
        ]
    return call.reply(200, page(views, limit=query.limit, cursor=views[-1].id if views else None))


async def show(call: Call) -> web.Response:
    """`GET /projects/{project}`, by id or slug."""
    async with call.database.read() as session:
        project = await project_find(session, call.path("project"))
        if project is None:
            raise NotFound(f"There is no project {call.path('project')!r}.")
        environments = await environments_of(session, project.id)
    return call.reply(200, view(project, environments, call.settings))


async def change(call: Call) -> web.Response:
    """`PATCH /projects/{project}`, by id or slug."""
    body = await call.body(ProjectChange)
    async with call.work.transaction() as tx:
        project = await project_find(tx.session, call.path("project"))
        if project is None:
            raise NotFound(f"There is no project {call.path('project')!r}.")
        if body.newer_commit is not None:
            project.newer_commit = body.newer_commit
        environments = await environments_of(tx.session, project.id)
    return call.reply(200, view(project, environments, call.settings))


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
        created_at=project.created_at,
        environments=[
            EnvironmentView(
                id=each.id,
                name=each.name,
                branch=each.branch,
                host=each.host,
                url=url_of(each.host, settings),
            )
            for each in environments
        ],
    )
