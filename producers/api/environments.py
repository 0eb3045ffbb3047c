"""Further environments of a project: create, change, remove."""

from __future__ import annotations

from aiohttp import web

from db.models import Environment
from db.queries.projects import (
    PRODUCTION,
    NewEnvironment,
    environment_create,
    environment_lock,
    environment_named,
    host_taken,
    project_lock,
)
from db.queries.removal import environment_close
from db.session import Transaction
from events.environments import EnvironmentKind
from producers.api.call import Call
from producers.api.projects import environment_view, found
from zeitwork.errors import Conflict, InvalidInput, NotFound
from zeitwork.fields import Body, BranchRule, Slug

_MOST_LABEL = 63


class NewEnvironmentBody(Body):
    """What `create` takes; it serves at the project's slug, a hyphen, and its name."""

    name: Slug
    branch: BranchRule


class EnvironmentChanges(Body):
    """What `change` takes."""

    branch: BranchRule


async def create(call: Call) -> web.Response:
    """`POST /projects/{project}/environments`."""
    body = await call.body(NewEnvironmentBody)
    async with call.work.transaction() as tx:
        project = await project_lock(tx.session, (await found(tx.session, call)).id)
        if project is None or project.closing_at is not None:
            raise Conflict("The project is being removed.")
        if await environment_named(tx.session, project.id, body.name) is not None:
            raise Conflict(f"{project.slug} has an environment {body.name!r} already.")
        label = f"{project.slug}-{body.name}"
        if len(label) > _MOST_LABEL:
            raise InvalidInput(f"{label} is longer than a host name's {_MOST_LABEL} characters.")
        host = f"{label}.{call.settings.base_domain}"
        if await host_taken(tx.session, host):
            raise Conflict(f"Something is served at {host} already: choose another name.")
        environment = await environment_create(
            tx,
            project,
            NewEnvironment(
                name=body.name, kind=EnvironmentKind.CUSTOM, branch=body.branch, host=host
            ),
        )
    return call.reply(201, environment_view(environment, call.settings))


async def change(call: Call) -> web.Response:
    """`PATCH /projects/{project}/environments/{environment}`."""
    body = await call.body(EnvironmentChanges)
    async with call.work.transaction() as tx:
        environment = await _own(tx, call)
        environment.branch = body.branch
    return call.reply(200, environment_view(environment, call.settings))


async def remove(call: Call) -> web.Response:
    """`DELETE /projects/{project}/environments/{environment}`: it stops now, and then goes."""
    async with call.work.transaction() as tx:
        environment = await _own(tx, call)
        if environment.name == PRODUCTION:
            raise Conflict("Production goes with its project: remove the project.")
        await environment_close(tx, environment, reason="the environment is removed")
    return call.reply(202, environment_view(environment, call.settings))


async def _own(tx: Transaction, call: Call) -> Environment:
    """The environment of the path, locked.

    Raises:
        NotFound: there is none.
        Conflict: it is a preview, which follows its pull request.
    """
    project = await found(tx.session, call)
    name = call.path("environment")
    named = await environment_named(tx.session, project.id, name)
    if named is None:
        raise NotFound(f"{project.slug} has no environment {name!r}.")
    if named.kind is EnvironmentKind.PREVIEW:
        raise Conflict("A preview follows its pull request or branch.")
    return await environment_lock(tx.session, named.id)
