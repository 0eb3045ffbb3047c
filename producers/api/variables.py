"""Variables of projects: list, set, unset, reveal. A value goes out only when it is revealed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from db.models import Deployment, Environment, Project, Variable
from db.queries.projects import environments_of, project_find
from db.queries.variables import (
    Place,
    deployments_outdated,
    project_lock,
    variable_find,
    variable_reveal,
    variable_set,
    variable_unset,
    variables_current,
    variables_usage,
)
from db.session import Transaction
from events.variables import VariablePhase, VariableScope
from producers.api.call import Call
from zeitwork.errors import InvalidInput, NotFound
from zeitwork.fields import Body, Slug, VariableName

_MOST_BYTES = 32 * 1024  # of a value; Linux takes 128 KiB for one string of an environment
_MOST_IN_ALL_BYTES = 256 * 1024  # of a project's values: they are kept in memory to be masked
_MOST_VARIABLES = 300
_RESERVED_PREFIX = "ZEITWORK_"
_RESERVED = frozenset({"PORT"})  # says where the proxy finds the instance
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _free(name: str) -> str:
    if name in _RESERVED or name.upper().startswith(_RESERVED_PREFIX):
        raise ValueError(f"{name} is reserved; names that begin with ZEITWORK_ and PORT are ours")
    return name


def _usable(value: str) -> str:
    # Their messages go into the answer, so they do not repeat the value.
    if _CONTROLS.search(value):
        # Logs leave them out, so the value would not be found there and masked.
        raise ValueError("must not contain control characters other than tabs and line ends")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can encode") from None
    if size > _MOST_BYTES:
        raise ValueError(f"may have at most {_MOST_BYTES} bytes")
    return value


class PlaceBody(Body):
    """Where a variable counts: everywhere, in one environment, or in every preview."""

    environment: Slug | None = None
    preview: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> PlaceBody:
        if self.preview and self.environment is not None:
            raise ValueError("give environment or preview, not both")
        return self


class VariablesBody(PlaceBody):
    """What `set_` takes: all of it is set, or nothing. Values are taken as they are."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)

    phase: Literal["build", "run", "both"] = "both"
    variables: Annotated[
        dict[
            Annotated[VariableName, AfterValidator(_free)], Annotated[str, AfterValidator(_usable)]
        ],
        Field(min_length=1, max_length=_MOST_VARIABLES, repr=False),
    ]


class VariableView(BaseModel):
    """What a caller sees; the value is not in it."""

    id: str
    name: str
    scope: str
    environment: str | None
    phase: str
    updated_at: datetime
    updated_by: str


class Outdated(BaseModel):
    """A deployment that serves with other values than a new one would get."""

    deployment_id: str
    environment: str
    number: int
    commit_sha: str


class VariablesView(BaseModel):
    """Variables, and which deployments do not have them yet: deploy again to change that."""

    items: list[VariableView]
    outdated: list[Outdated]


async def index(call: Call) -> web.Response:
    """`GET /projects/{project}/variables`."""
    async with call.database.read() as session:
        project = await project_find(session, call.path("project"))
        if project is None:
            raise _no_project(call)
        found = await variables_current(session, project.id)
        environments = await environments_of(session, project.id)
        outdated = await deployments_outdated(session, project.id)
    return call.reply(200, _view(found, environments, outdated))


async def set_(call: Call) -> web.Response:
    """`POST /projects/{project}/variables`."""
    body = await call.body(VariablesBody)
    async with call.work.transaction() as tx:
        project, place, environments = await _place(tx, call, body)
        found = [
            await variable_set(
                tx,
                project,
                place,
                name=name,
                value=value,
                phase=VariablePhase(body.phase),
                keys=call.keys,
            )
            for name, value in body.variables.items()
        ]
        await _check_usage(tx, project)
        outdated = await deployments_outdated(tx.session, project.id)
    return call.reply(200, _view(found, environments, outdated))


async def unset(call: Call) -> web.Response:
    """`DELETE /projects/{project}/variables/{name}`, of the place that the query names."""
    where = call.query(PlaceBody)
    async with call.work.transaction() as tx:
        project, place, environments = await _place(tx, call, where)
        variable_unset(tx, await _found(tx, call, project, place))
        await tx.session.flush()
        outdated = await deployments_outdated(tx.session, project.id)
    return call.reply(200, _view([], environments, outdated))


async def reveal(call: Call) -> web.Response:
    """`POST /projects/{project}/variables/{name}/reveal`: the value, and an event about that."""
    where = await call.body(PlaceBody)
    async with call.work.transaction() as tx:
        project, place, _ = await _place(tx, call, where)
        value = variable_reveal(tx, await _found(tx, call, project, place), call.keys)
    return call.reply_privately(200, {"name": call.path("name"), "value": value})


async def _place(
    tx: Transaction, call: Call, said: PlaceBody
) -> tuple[Project, Place, Sequence[Environment]]:
    """The (locked) project and the place in it that the caller means."""
    project = await project_find(tx.session, call.path("project"))
    if project is None:
        raise _no_project(call)
    await project_lock(tx.session, project.id)
    environments = await environments_of(tx.session, project.id)
    if said.preview:
        return project, Place(VariableScope.PREVIEW), environments
    if said.environment is None:
        return project, Place(VariableScope.PROJECT), environments
    for each in environments:
        if each.name == said.environment:
            return project, Place(VariableScope.ENVIRONMENT, each.id), environments
    raise NotFound(f"{project.slug} has no environment {said.environment!r}.")


async def _found(tx: Transaction, call: Call, project: Project, place: Place) -> Variable:
    variable = await variable_find(tx.session, project.id, place, name=call.path("name"))
    if variable is None:
        raise NotFound(
            f"{project.slug} has no variable {call.path('name')!r} there. It may be set in another "
            "place: name the environment, or preview."
        )
    return variable


async def _check_usage(tx: Transaction, project: Project) -> None:
    usage = await variables_usage(tx.session, project.id)
    if usage.count > _MOST_VARIABLES:
        raise InvalidInput(f"A project may have at most {_MOST_VARIABLES} variables.")
    if usage.size > _MOST_IN_ALL_BYTES:
        raise InvalidInput(
            f"The values of a project may have at most {_MOST_IN_ALL_BYTES} bytes in all."
        )


def _no_project(call: Call) -> NotFound:
    return NotFound(f"There is no project {call.path('project')!r}.")


def _view(
    variables: Sequence[Variable],
    environments: Sequence[Environment],
    outdated: Sequence[tuple[Deployment, Environment]],
) -> VariablesView:
    names = {each.id: each.name for each in environments}
    return VariablesView(
        items=[
            VariableView(
                id=each.id,
                name=each.name,
                scope=str(each.scope),
                environment=names.get(each.environment_id) if each.environment_id else None,
                phase=str(each.phase),
                updated_at=each.created_at,
                updated_by=each.created_by,
            )
            for each in variables
        ],
        outdated=[
            Outdated(
                deployment_id=deployment.id,
                environment=environment.name,
                number=deployment.number,
                commit_sha=deployment.commit_sha,
            )
            for deployment, environment in outdated
        ],
    )
