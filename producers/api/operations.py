"""Operations: ask for work on the platform itself, and see what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from db.models import Operation
from db.queries.operations import operation_create, operation_find, operations_page
from events.operation_params import Params, params_of
from producers.api.call import Call
from producers.api.pages import page
from producers.api.problems import InvalidFields
from zeitwork import context
from zeitwork.errors import NotFound
from zeitwork.fields import Body, Name, PageSize


class NewOperation(Body):
    """What `create` takes; the form of `params` is the kind's."""

    kind: Name
    params: dict[str, Any] = Field(default_factory=dict)


class OperationSummary(BaseModel):
    """An operation in a list."""

    id: str
    kind: str
    params: dict[str, Any]
    state: str
    error_code: str | None
    error_detail: str | None
    actor: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class OperationView(OperationSummary):
    """One operation with its report, which is there once it has succeeded."""

    report: dict[str, Any] | None


class OperationQuery(Body):
    """How `index` pages (newest first)."""

    before: str | None = None
    limit: PageSize = 50


async def create(call: Call) -> web.Response:
    """`POST /operations`."""
    body = await call.body(NewOperation)
    params = _checked(body).model_dump(mode="json", exclude_none=True)
    async with call.work.transaction() as tx:
        operation = operation_create(tx, body.kind, params, actor=context.current().actor)
    return call.reply(202, view(operation))


async def index(call: Call) -> web.Response:
    """`GET /operations`."""
    query = call.query(OperationQuery)
    async with call.database.read() as session:
        found = await operations_page(session, before=query.before, limit=query.limit)
    views = [OperationSummary(**_summary(each)) for each in found]
    return call.reply(200, page(views, limit=query.limit, cursor=views[-1].id if views else None))


async def show(call: Call) -> web.Response:
    """`GET /operations/{operation}`."""
    wanted = call.path("operation")
    async with call.database.read() as session:
        operation = await operation_find(session, wanted)
    if operation is None:
        raise NotFound(f"There is no operation {wanted!r}.")
    return call.reply(200, view(operation))


def view(operation: Operation) -> OperationView:
    return OperationView(**_summary(operation), report=operation.report)


def _checked(body: NewOperation) -> Params:
    try:
        return params_of(body.kind, body.params)
    except ValidationError as error:
        raise InvalidFields.of(error, within="params") from error


def _summary(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "kind": operation.kind,
        "params": operation.params,
        "state": str(operation.state),
        "error_code": operation.error_code,
        "error_detail": operation.error_detail,
        "actor": operation.actor,
        "created_at": operation.created_at,
        "started_at": operation.started_at,
        "finished_at": operation.finished_at,
    }
