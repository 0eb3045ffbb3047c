"""Builds: list, show, cancel, read a log, follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from db.models import Build
from db.queries.build_logs import build_logs_read
from db.queries.build_queue import queue_forecast
from db.queries.builds import build_find, builds_page
from db.queries.deployments import deployment_cancel
from db.queries.projects import project_find
from events import subjects
from events.build_order import Expectation
from events.builds import Priority
from events.states import BuildState, terminal
from events.streams import LOGS
from producers.api.call import Call
from producers.api.pages import page
from producers.api.sse import EventStream
from zeitwork import clock, context
from zeitwork.errors import Conflict, NotFound
from zeitwork.fields import Body, PageSize

_BATCH = 500
_LOOK_SECONDS = 1.0
_MOST_LINES = 2**31 - 1  # what the column of their numbers holds


class BuildView(BaseModel):
    """What a caller sees; position (the first is 1) and expected start are those of the queue."""

    id: str
    project_id: str
    deployment_id: str
    state: str
    priority: str
    builder: str | None
    attempts: int
    commit_sha: str
    error_code: str | None
    error_detail: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    position: int | None
    expected_start_at: datetime | None


class BuildQuery(Body):
    """How `index` filters and pages (newest first)."""

    project: str | None = None
    open: bool = False
    before: str | None = None
    limit: PageSize = 50


class LogLine(BaseModel):
    """One line of output; numbers start at 1 and have no gaps."""

    number: int
    at: datetime
    line: str
    stream: str


class LogQuery(Body):
    """Lines behind `after`."""

    after: Annotated[int, Field(ge=0, le=_MOST_LINES)] = 0
    limit: PageSize = 500


async def index(call: Call) -> web.Response:
    """`GET /builds`."""
    query = call.query(BuildQuery)
    async with call.database.read() as session:
        project = await project_find(session, query.project) if query.project is not None else None
        if query.project is not None and project is None:
            raise NotFound(f"There is no project {query.project!r}.")
        found = await builds_page(
            session,
            project_id=project.id if project is not None else None,
            unfinished=query.open,
            before=query.before,
            limit=query.limit,
        )
    places = await _places(call, found)
    views = [view(build, places) for build in found]
    return call.reply(200, page(views, limit=query.limit, cursor=views[-1].id if views else None))


async def show(call: Call) -> web.Response:
    """`GET /builds/{build}`."""
    build = await _find(call)
    return call.reply(200, view(build, await _places(call, [build])))


async def cancel(call: Call) -> web.Response:
    """`POST /builds/{build}/cancel`: end it, queued or running, and with it its deployment."""
    build = await _find(call)
    detail = f"{context.current().actor} cancelled the build."
    if not terminal(build.state):
        async with call.work.transaction() as tx:
            await deployment_cancel(tx, build.deployment_id, code="cancelled", detail=detail)
        build = await _find(call)
    if build.state is not BuildState.CANCELLED:
        raise Conflict(f"The build has ended: it has {build.state}.")
    return call.reply(200, view(build))


async def log(call: Call) -> web.Response:
    """`GET /builds/{build}/logs`."""
    query = call.query(LogQuery)
    build = await _find(call)
    lines = await _read(call, build.id, after=query.after, limit=query.limit)
    cursor = str(lines[-1].number) if lines else None
    return call.reply(200, page(lines, limit=query.limit, cursor=cursor))


async def follow(call: Call) -> web.StreamResponse:
    """`GET /builds/{build}/logs/stream`: server-sent events, one a line, until the build ends.

    The event id is the line number; `Last-Event-ID` resumes behind it.
    """
    build = await _find(call)
    stream = EventStream(call.request)
    last = min(stream.last_id or 0, _MOST_LINES)
    async with (
        call.bus.follow(LOGS.name, subjects.log("build", build.id)) as news,
        stream.listening(news) as bell,
    ):
        while True:
            build = await _find(call)
            ended = terminal(build.state)
            while lines := await _read(call, build.id, after=last, limit=_BATCH):
                for line in lines:
                    await stream.send(line.model_dump_json(), id_=line.number, event="line")
                last = lines[-1].number
            if ended:
                await stream.send(view(build).model_dump_json(), event="end")
                return stream.response
            await bell.wait(_LOOK_SECONDS)
            await stream.keep_open()


async def _find(call: Call) -> Build:
    wanted = call.path("build")
    async with call.database.read() as session:
        build = await build_find(session, wanted)
    if build is None:
        raise NotFound(f"There is no build {wanted!r}.")
    return build


async def _read(call: Call, build_id: str, *, after: int, limit: int) -> list[LogLine]:
    async with call.database.read() as session:
        rows = await build_logs_read(session, build_id, after=after, limit=limit)
    return [LogLine(number=row.number, at=row.at, line=row.text, stream=row.stream) for row in rows]


async def _places(call: Call, builds: Sequence[Build]) -> dict[str, Expectation]:
    """Where those of the builds stand that wait in the queue."""
    if all(build.state is not BuildState.QUEUED for build in builds):
        return {}
    limit = call.settings.consumers.builds_per_organisation
    async with call.database.read() as session:
        return await queue_forecast(session, clock.now(), per_organisation=limit)


def view(build: Build, places: Mapping[str, Expectation] = MappingProxyType({})) -> BuildView:
    place = places.get(build.id)
    begins_in = place.begins_in if place is not None else None
    return BuildView(
        id=build.id,
        project_id=build.project_id,
        deployment_id=build.deployment_id,
        state=str(build.state),
        priority="production" if build.priority <= Priority.PRODUCTION else "preview",
        builder=build.builder,
        attempts=build.attempts,
        commit_sha=build.commit_sha,
        error_code=build.error_code,
        error_detail=build.error_detail,
        created_at=build.created_at,
        started_at=build.started_at,
        finished_at=build.finished_at,
        position=place.position if place is not None else None,
        expected_start_at=clock.now() + begins_in if begins_in is not None else None,
    )
