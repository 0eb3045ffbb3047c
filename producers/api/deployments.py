"""Deployments: deploy a commit, list, show, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from aiohttp import web
from pydantic import BaseModel, model_validator

from db.models import Build, Deployment, Environment, Instance, Project
from db.queries.builds import builds_of
from db.queries.deployments import (
    Source,
    deployment_cancel,
    deployment_create,
    deployment_find,
    deployments_page,
)
from db.queries.instances import instance_find_by_deployment
from db.queries.projects import PRODUCTION, environment_lock, environment_named, project_find
from db.queries.releases import deployments_releasing
from db.queries.triggers import Asked, trigger_decided, trigger_request
from db.session import Transaction
from events.environments import EnvironmentKind
from events.instances import InstanceKind
from events.states import DeploymentState
from events.triggers import TriggerKind
from producers.api.builds import BuildView
from producers.api.builds import view as build_view
from producers.api.call import Call
from producers.api.instances import InstanceView
from producers.api.instances import view as instance_view
from producers.api.pages import page
from producers.api.projects import found, url_of
from producers.api.triggers import view as trigger_view
from zeitwork import context
from zeitwork.config import Settings
from zeitwork.errors import Conflict, InvalidInput, NotFound
from zeitwork.fields import Body, CommitSha, GitReference, GitUrl, Name, PageSize, Slug
from zeitwork.github import addresses

_RELEASING = "releasing"


class NewDeployment(Body):
    """What `create` takes: a commit, or a branch or tag whose commit is then looked up."""

    commit_sha: CommitSha | None = None
    ref: GitReference | None = None
    environment: Slug = PRODUCTION
    clone_url: GitUrl | None = None
    message: Name | None = None

    @model_validator(mode="after")
    def _has_one(self) -> NewDeployment:
        if (self.commit_sha is None) == (self.ref is None):
            raise ValueError("give commit_sha or ref")
        return self


class DeploymentView(BaseModel):
    """What a caller sees; `url` is where it serves once it is active.

    `commit_url` serves this very deployment for as long as it is active; previews have one.
    `phase` is its state, or `releasing` while its release command runs or waits for its turn.
    """

    id: str
    project_id: str
    environment_id: str
    number: int
    state: str
    phase: str
    url: str
    commit_url: str | None
    commit_sha: str
    ref: str
    commit_message: str
    actor: str
    trusted: bool
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
    """`POST /projects/{project}/deployments`: the deployment, or for a `ref` its trigger."""
    body = await call.body(NewDeployment)
    async with call.work.transaction() as tx:
        project = await found(tx.session, call)
        environment = await _target(tx, project, body.environment)
        if body.ref is not None:
            asked = _asked(body, body.ref)
            trigger = trigger_request(tx, project, asked, environment_id=environment.id)
            await tx.session.flush()
            return call.reply(202, trigger_view(trigger))
        deployment, build = await _deploy(tx, project, environment, body, settings=call.settings)
    return call.reply(202, detail(deployment, environment, [build], [], call.settings))


async def _target(tx: Transaction, project: Project, name: str) -> Environment:
    """The environment to deploy to, locked.

    Raises:
        NotFound: there is none of that name.
        Conflict: nothing is deployed there by hand.
    """
    named = await environment_named(tx.session, project.id, name)
    if named is None:
        raise NotFound(f"{project.slug} has no environment {name!r}.")
    if named.kind is EnvironmentKind.PREVIEW:
        raise Conflict("A preview follows its pull request or branch: push to it.")
    environment = await environment_lock(tx.session, named.id)
    if environment.closing_at is not None:
        raise Conflict(f"The environment {name!r} is being removed.")
    return environment


async def _deploy(
    tx: Transaction,
    project: Project,
    environment: Environment,
    body: NewDeployment,
    *,
    settings: Settings,
) -> tuple[Deployment, Build]:
    commit_sha = body.commit_sha or ""
    exact = not set(environment.branch) & set("*?")
    source = Source(
        commit_sha=commit_sha,
        ref=f"refs/heads/{environment.branch}" if exact else commit_sha,
        commit_message=body.message or "",
        clone_url=body.clone_url or _clone_url(project, settings),
        actor=context.current().actor,
    )
    deployment, build = await deployment_create(
        tx, environment, source, root_directory=project.root_directory
    )
    trigger_decided(tx, project, _asked(body, source.ref), deployment)
    return deployment, build


def _asked(body: NewDeployment, ref: str) -> Asked:
    return Asked(
        TriggerKind.MANUAL,
        ref,
        context.current().actor,
        commit_sha=body.commit_sha,
        message=body.message or "",
        clone_url=body.clone_url,
    )


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
        rows = await deployments_page(
            session, project_id=project_id, before=query.before, limit=query.limit
        )
        environments = {}
        for each in rows:
            if each.environment_id not in environments:
                environments[each.environment_id] = await session.get_one(
                    Environment, each.environment_id
                )
        releasing = await deployments_releasing(session, [each.id for each in rows])
    views = [
        view(
            each,
            environments[each.environment_id],
            call.settings,
            releasing=each.id in releasing,
        )
        for each in rows
    ]
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


def view(
    deployment: Deployment,
    environment: Environment,
    settings: Settings,
    *,
    releasing: bool = False,
) -> DeploymentView:
    return DeploymentView(
        id=deployment.id,
        project_id=deployment.project_id,
        environment_id=deployment.environment_id,
        number=deployment.number,
        state=str(deployment.state),
        phase=_RELEASING if releasing else str(deployment.state),
        url=url_of(environment.host, settings),
        commit_url=url_of(deployment.host, settings) if deployment.host is not None else None,
        commit_sha=deployment.commit_sha,
        ref=deployment.ref,
        commit_message=deployment.commit_message,
        actor=deployment.actor,
        trusted=deployment.trusted,
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
        **view(
            deployment,
            environment,
            settings,
            releasing=deployment.state is DeploymentState.DEPLOYING
            and all(each.kind is not InstanceKind.WEB for each in instances),
        ).model_dump(),
        builds=[build_view(build) for build in builds],
        instances=[instance_view(instance) for instance in instances],
    )


def _clone_url(project: Project, settings: Settings) -> str:
    if project.clone_url is not None:
        return project.clone_url
    if project.github_repo is None:
        raise InvalidInput("The project has no repository: give clone_url.")
    return addresses.clone_url(settings.github.web_url, project.github_repo)
