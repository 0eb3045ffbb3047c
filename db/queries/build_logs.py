"""Lines of builds' logs: rows while a build runs, compressed packs once it has ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import zstandard
from sqlalchemy import ColumnElement, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Build, BuildLog, BuildLogPack
from events.builds import Stream
from zeitwork import ids
from zeitwork.errors import ZeitworkError

PACK_LINES = 5_000
_MOST_PACK_BYTES = 64 * 1024 * 1024  # unpacked; PACK_LINES of the longest lines are less


class PackCorrupt(ZeitworkError):
    """A stored pack of log lines cannot be read."""

    code = "log_pack_corrupt"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a build's output; numbers start at 1 and have no gaps."""

    number: int
    at: datetime
    text: str
    stream: Stream = Stream.PLATFORM


_APPEND = text("""
    INSERT INTO build_logs (build_id, organisation_id, line_number, at, line, stream)
    SELECT :build, :organisation, unnest(CAST(:numbers AS int[])),
           unnest(CAST(:times AS timestamptz[])), unnest(CAST(:lines AS text[])),
           unnest(CAST(:streams AS text[]))
    ON CONFLICT DO NOTHING
""")


async def build_logs_append(session: AsyncSession, build: Build, lines: Sequence[Line]) -> None:
    """Store numbered lines; one that is already there stays (a retry of an unknown outcome)."""
    if not lines:
        return
    await session.execute(
        _APPEND,
        {
            "build": ids.to_uuid(ids.Prefix.BUILD, build.id),
            "organisation": ids.to_uuid(ids.Prefix.ORGANISATION, build.organisation_id),
            "numbers": [line.number for line in lines],
            "times": [line.at for line in lines],
            "lines": [line.text.replace("\x00", "\N{REPLACEMENT CHARACTER}") for line in lines],
            "streams": [line.stream.value for line in lines],
        },
    )


async def build_logs_read(
    session: AsyncSession, build_id: str, *, after: int, limit: int
) -> list[Line]:
    """Lines behind number `after`, in order; fewer than `limit` only where they end."""
    found: list[Line] = []
    while len(found) < limit:
        last = found[-1].number if found else after
        more = await _next(session, build_id, after=last, limit=limit - len(found))
        if not more:
            break
        found += more
    return found


async def build_logs_last(session: AsyncSession, build_id: str) -> int:
    """The highest line number so far; 0 without lines."""
    return int((await session.execute(select(build_logs_end(build_id)))).scalar_one())


def build_logs_end(build_id: str) -> ColumnElement[int]:
    """The same, as a part of another query."""
    rows = select(func.max(BuildLog.line_number)).where(BuildLog.build_id == build_id)
    packs = select(func.max(BuildLogPack.last_line)).where(BuildLogPack.build_id == build_id)
    return func.greatest(rows.scalar_subquery(), packs.scalar_subquery(), 0)


async def build_logs_unpacked(
    session: AsyncSession, ended_before: datetime, *, limit: int
) -> Sequence[Build]:
    """Builds that have ended and whose lines are still rows, the longest ended first."""
    query = (
        select(Build)
        .where(Build.finished_at < ended_before, Build.log_packed.is_(False))
        .order_by(Build.finished_at)
        .limit(limit)
    )
    return (await session.execute(query)).scalars().all()


async def build_logs_pack(session: AsyncSession, build: Build) -> None:
    """Make one pack of the first lines of a (locked) build that are rows, or note it as done."""
    lines = await _rows(session, build.id, after=0, limit=PACK_LINES)
    if not lines:
        build.log_packed = True
        return
    last = lines[-1].number
    session.add(
        BuildLogPack(
            build_id=build.id,
            organisation_id=build.organisation_id,
            last_line=last,
            content=await asyncio.to_thread(packed, lines),
        )
    )
    await session.execute(
        delete(BuildLog).where(BuildLog.build_id == build.id, BuildLog.line_number <= last)
    )


def packed(lines: Sequence[Line]) -> bytes:
    """Lines in their form in a pack: zstd of one JSON array a line."""
    rows = (
        json.dumps([line.number, line.at.isoformat(), line.stream, line.text]) for line in lines
    )
    return zstandard.compress("\n".join(rows).encode())


def unpacked(content: bytes) -> list[Line]:
    """The lines of a pack.

    Raises:
        PackCorrupt: it is none.
    """
    try:
        plain = zstandard.ZstdDecompressor().decompress(content, max_output_size=_MOST_PACK_BYTES)
        rows = [json.loads(row) for row in plain.decode().split("\n")]
        return [
            Line(number, datetime.fromisoformat(at), text_, Stream(stream))
            for number, at, stream, text_ in rows
        ]
    except (zstandard.ZstdError, ValueError) as error:
        raise PackCorrupt("a pack of a build's log lines cannot be read") from error


async def _next(session: AsyncSession, build_id: str, *, after: int, limit: int) -> list[Line]:
    """Rows or packed lines; packs are read last, where what is packed meanwhile is found."""
    rows = await _rows(session, build_id, after=after, limit=limit)
    if rows and rows[0].number == after + 1:
        return rows
    return await _packed(session, build_id, after=after, limit=limit) or rows


async def _rows(session: AsyncSession, build_id: str, *, after: int, limit: int) -> list[Line]:
    query = (
        select(BuildLog.line_number, BuildLog.at, BuildLog.line, BuildLog.stream)
        .where(BuildLog.build_id == build_id, BuildLog.line_number > after)
        .order_by(BuildLog.line_number)
        .limit(limit)
    )
    rows = await session.execute(query)
    return [Line(number, at, line, Stream(stream)) for number, at, line, stream in rows]


async def _packed(session: AsyncSession, build_id: str, *, after: int, limit: int) -> list[Line]:
    query = (
        select(BuildLogPack.content)
        .where(BuildLogPack.build_id == build_id, BuildLogPack.last_line > after)
        .order_by(BuildLogPack.last_line)
        .limit(1)
    )
    content = (await session.execute(query)).scalar_one_or_none()
    if content is None:
        return []
    return [line for line in unpacked(content) if line.number > after][:limit]
