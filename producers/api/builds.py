"""Builds: show one, read its log, follow its log."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from pydantic import BaseModel

from db.models import Build
from db.queries.builds import build_find, build_logs_read
from events import subjects
from events.states import terminal
from events.streams import LOGS
from producers.api.call import Call
from producers.api.pages import page
from producers.api.sse import EventStream
from zeitwork.errors import NotFound
from zeitwork.fields import Body, PageSize

_BATCH = 500
_LOOK_SECONDS = 1.0


class BuildView(BaseModel):
    """What a caller sees."""

    id: str
    deployment_id: str
    state: str
    commit_sha: str
    error_code: str | None
    error_detail: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class LogLine(BaseModel):
    """One line of output; numbers start at 1 and have no gaps."""

    number: int
    at: datetime
    line: str


class LogQuery(Body):
    """Lines behind `after`."""

    after: int = 0
    limit: PageSize = 500


async def show(call: Call) -> web.Response:
    """`GET /builds/{build}`."""
    return call.reply(200, view(await _find(call)))


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
    last = stream.last_id or 0
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
    return [LogLine(number=row.line_number, at=row.at, line=row.line) for row in rows]


def view(build: Build) -> BuildView:
    return BuildView(
        id=build.id,
        deployment_id=build.deployment_id,
        state=str(build.state),
        commit_sha=build.commit_sha,
        error_code=build.error_code,
        error_detail=build.error_detail,
        created_at=build.created_at,
        started_at=build.started_at,
        finished_at=build.finished_at,
    )
