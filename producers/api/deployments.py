"""Deployments: deploy a commit, list, show, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from aiohttp import web
from pydantic import BaseModel

from db.models import Build, Deployment, Environment, Instance
from db.queries.builds import builds_of
from db.queries.deployments import (
    Source,
    deployment_cancel,
    deployment_create,
    deployment_find,
    deployments_page,
)
from db.queries.instances import instance_find_by_deployment
from db.queries.projects import PRODUCTION, environment_lock, environments_of, project_find
from events.states import DeploymentState
from producers.api.builds import BuildView
from producers.api.builds import view as build_view
from producers.api.call import Call
from producers.api.instances import InstanceView
from producers.api.instances import view as instance_view
from producers.api.pages import page
from producers.api.projects import url_of
from zeitwork import context
from zeitwork.config import Settings
from zeitwork.errors import Conflict, InvalidInput, NotFound
from zeitwork.fields import Body, CommitSha, GitUrl, Name, PageSize, Slug


class NewDeployment(Body):
    """What `create` takes; the source defaults to the project's."""

    commit_sha: CommitSha
    environment: Slug = PRODUCTION
    clone_url: GitUrl | None = None
    message: Name | None = None


class DeploymentView(BaseModel):
    """What a caller sees; `url` is where it serves once it is active."""

    id: str
    project_id: str
    environment_id: str
    number: int
    state: str
    url: str
    commit_sha: str
    ref: str
    commit_message: str
    actor: str
    replicas: int
    error_code: str | None
    error_detail: str | None
    waiting_reason: str | None
    correlation_id: str
    created_at: datetime
    activated_at: datetime | None
    finished_at: datetime | None


class DeploymentDetail(DeploymentView):
    """One deployment with its builds and instances."""

    builds: list[BuildView]
    instances: list[InstanceView]


class DeploymentQuery(Body):
    """How `index` filters and pages (newest first)."""

    project: str | None = None
    before: str | None = None
    limit: PageSize = 50


async def create(call: Call) -> web.Response:
    """`POST /projects/{project}/deployments`."""
    body = await call.body(NewDeployment)
    async with call.work.transaction() as tx:
        project = await project_find(tx.session, call.path("project"))
        if project is None:
            raise NotFound(f"There is no project {call.path('project')!r}.")
        found = await environments_of(tx.session, project.id)
        named = [each for each in found if each.name == body.environment]
        if not named:
            raise NotFound(f"{project.slug} has no environment {body.environment!r}.")
        environment = await environment_lock(tx.session, named[0].id)
        source = Source(
            commit_sha=body.commit_sha,
            ref=f"refs/heads/{environment.branch}",
            commit_message=body.message or "",
            clone_url=body.clone_url or project.clone_url or _github_url(project.github_repo),
            actor=context.current().actor,
        )
        deployment, build = await deployment_create(
            tx, environment, source, root_directory=project.root_directory
        )
    return call.reply(202, detail(deployment, environment, [build], [], call.settings))


async def index(call: Call) -> web.Response:
    """`GET /deployments`."""
    query = call.query(DeploymentQuery)
    async with call.database.read() as session:
        project_id = None
        if query.project is not None:
            project = await project_find(session, query.project)
            if project is None:
                raise NotFound(f"There is no project {query.project!r}.")
            project_id = project.id
        found = await deployments_page(
            session, project_id=project_id, before=query.before, limit=query.limit
        )
        environments = {}
        for each in found:
            if each.environment_id not in environments:
                environments[each.environment_id] = await session.get_one(
                    Environment, each.environment_id
                )
    views = [view(each, environments[each.environment_id], call.settings) for each in found]
    return call.reply(200, page(views, limit=query.limit, cursor=views[-1].id if views else None))


async def show(call: Call) -> web.Response:
    """`GET /deployments/{deployment}`."""
    wanted = call.path("deployment")
    async with call.database.read() as session:
        deployment = await deployment_find(session, wanted)
        if deployment is None:
            raise NotFound(f"There is no deployment {wanted!r}.")
        environment = await session.get_one(Environment, deployment.environment_id)
        builds = await builds_of(session, deployment.id)
        instances = await instance_find_by_deployment(session, deployment.id)
    return call.reply(200, detail(deployment, environment, builds, instances, call.settings))


async def cancel(call: Call) -> web.Response:
    """`POST /deployments/{deployment}/cancel`: end one that does not serve yet."""
    wanted = call.path("deployment")
    detail = f"{context.current().actor} cancelled the deployment."
    async with call.work.transaction() as tx:
        done = await deployment_cancel(tx, wanted, code="cancelled", detail=detail)
    async with call.database.read() as session:
        deployment = await deployment_find(session, wanted)
        if deployment is None:
            raise NotFound(f"There is no deployment {wanted!r}.")
        environment = await session.get_one(Environment, deployment.environment_id)
    if not done and deployment.state is not DeploymentState.CANCELLED:
        raise Conflict(f"The deployment is {deployment.state}: there is nothing to cancel.")
    return call.reply(200, view(deployment, environment, call.settings))


def view(deployment: Deployment, environment: Environment, settings: Settings) -> DeploymentView:
    return DeploymentView(
        id=deployment.id,
        project_id=deployment.project_id,
        environment_id=deployment.environment_id,
        number=deployment.number,
        state=str(deployment.state),
        url=url_of(environment.host, settings),
        commit_sha=deployment.commit_sha,
        ref=deployment.ref,
        commit_message=deployment.commit_message,
        actor=deployment.actor,
        replicas=deployment.replicas,
        error_code=deployment.error_code,
        error_detail=deployment.error_detail,
        waiting_reason=deployment.waiting_reason,
        correlation_id=deployment.correlation_id,
        created_at=deployment.created_at,
        activated_at=deployment.activated_at,
        finished_at=deployment.finished_at,
    )


def detail(
    deployment: Deployment,
    environment: Environment,
    builds: Sequence[Build],
    instances: Sequence[Instance],
    settings: Settings,
) -> DeploymentDetail:
    return DeploymentDetail(
        **view(deployment, environment, settings).model_dump(),
        builds=[build_view(build) for build in builds],
        instances=[instance_view(instance) for instance in instances],
    )


def _github_url(repo: str | None) -> str:
    if repo is None:
        raise InvalidInput("The project has no repository: give clone_url.")
    return f"https://github.com/{repo}.git"
