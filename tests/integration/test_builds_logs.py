"""Logs of builds: whoever said a line, however many there are, before and after they are packed."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from consumers.builds.log_packer import LogPacker
from consumers.builds.log_writer import LogWriter
from db.models import Build, BuildLog, BuildLogPack
from db.queries.build_logs import (
    PACK_LINES,
    Line,
    PackCorrupt,
    build_logs_append,
    build_logs_last,
    build_logs_read,
    unpacked,
)
from db.session import UnitOfWork
from events.builds import Stream
from events.memory import MemoryBus
from events.states import BuildState
from tests.support.api import Api
from tests.support.factories import (
    MovableClock,
    Version,
    add_site,
    add_version,
    changed,
    every,
    fetch,
)
from zeitwork import clock

TOKEN = "ours"


@pytest.fixture
async def version(work: UnitOfWork) -> Version:
    version = await add_version(work, await add_site(work))
    async with changed(work, Build, version.build.id) as build:
        build.state, build.lease_token, build.started_at = BuildState.RUNNING, TOKEN, clock.now()
    return version


def writer(work: UnitOfWork, version: Version, **changes: Any) -> LogWriter:
    told: dict[str, Any] = {"token": TOKEN, "work": work, "bus": MemoryBus(), "last_line": 0}
    return LogWriter(version.build, **{**told, **changes})


async def read(work: UnitOfWork, version: Version, *, after: int = 0) -> list[Line]:
    async with work.database.read() as session:
        return await build_logs_read(session, version.build.id, after=after, limit=1_000_000)


async def end(work: UnitOfWork, version: Version) -> None:
    async with changed(work, Build, version.build.id) as build:
        build.state, build.finished_at = BuildState.SUCCEEDED, clock.now()


async def pack(work: UnitOfWork) -> None:
    with clock.using(MovableClock()) as later:
        later.advance(61)
        await LogPacker(work).round()


async def test_a_line_keeps_who_said_it_its_time_and_its_colours(
    work: UnitOfWork, version: Version
) -> None:
    log = writer(work, version)
    log.write("==> Building")
    log.write("\x1b[32mok\x1b[0m", Stream.STDOUT)
    log.write("warning", Stream.STDERR)
    log.write("two\nlines", Stream.STDOUT)
    await log.stop()
    lines = await read(work, version)
    assert [(line.number, line.text, line.stream) for line in lines] == [
        (1, "==> Building", Stream.PLATFORM),
        (2, "\x1b[32mok\x1b[0m", Stream.STDOUT),
        (3, "warning", Stream.STDERR),
        (4, "two", Stream.STDOUT),
        (5, "lines", Stream.STDOUT),
    ]
    assert all(line.at <= clock.now() for line in lines)
    await end(work, version)
    await pack(work)
    assert await read(work, version) == lines


async def test_a_log_without_end_is_cut_and_keeps_its_last_line(
    work: UnitOfWork, version: Version
) -> None:
    log = writer(work, version, most_lines=100)
    for number in range(150):
        log.write(f"line {number}", Stream.STDOUT)
    log.conclude("Build failed")
    await log.stop()
    lines = [line.text for line in await read(work, version)]
    assert len(lines) == 102
    assert lines[-2:] == [
        "The output is longer than 100 lines; the rest is not kept.",
        "Build failed",
    ]


async def test_a_hundred_thousand_lines_are_stored_packed_and_read_in_order(
    work: UnitOfWork, version: Version
) -> None:
    """The writer makes whoever prints wait, so that it holds few of them at any time."""
    log = writer(work, version)
    await log.start()
    most = 0
    for number in range(100_000):
        room: Awaitable[None] | None = log.write(f"line {number}", Stream.STDOUT)
        most = max(most, len(log._waiting))
        if room is not None:
            await room
    await log.stop()
    assert most <= 5_000
    assert [line.text for line in await read(work, version)] == [
        f"line {number}" for number in range(100_000)
    ]
    await end(work, version)
    await pack(work)
    assert await every(work, BuildLog) == []
    packs = await every(work, BuildLogPack)
    assert len(packs) == 100_000 / PACK_LINES
    assert sum(len(row.content) for row in packs) < 1_000_000
    lines = await read(work, version, after=99_990)
    assert [line.number for line in lines] == [*range(99_991, 100_001)]
    async with work.database.read() as session:
        assert await build_logs_last(session, version.build.id) == 100_000
    assert (await fetch(work, Build, version.build.id)).log_packed


async def test_a_printer_waits_while_postgresql_is_away_and_goes_on_afterwards(
    work: UnitOfWork, version: Version
) -> None:
    log = writer(work, version)
    room: Awaitable[None] | None = None
    for _ in range(5_000):
        room = log.write("line", Stream.STDOUT)
    assert room is not None
    await log.start()
    await room
    await log.stop()
    assert len(await read(work, version)) == 5_000


async def test_more_lines_than_a_batch_holds_are_stored_once_and_in_order(
    work: UnitOfWork, version: Version
) -> None:
    log = writer(work, version)
    for number in range(2_500):
        log.write(f"line {number}")
    await log.stop()
    found = [line.text for line in await read(work, version)]
    assert found == [f"line {number}" for number in range(2_500)]


async def test_lines_of_a_builder_that_lost_its_lease_are_dropped_and_nobody_waits(
    work: UnitOfWork, version: Version
) -> None:
    log = writer(work, version, token="another's")
    room: Awaitable[None] | None = None
    for _ in range(6_000):
        room = log.write("line", Stream.STDOUT)
    await log.start()
    assert room is not None
    await room
    await log.stop()
    assert await read(work, version) == []


async def test_a_packed_log_takes_no_line_any_more(work: UnitOfWork, version: Version) -> None:
    log = writer(work, version)
    log.write("one")
    await log.stop()
    await end(work, version)
    await pack(work)
    late = writer(work, version, last_line=1)
    late.write("two")
    await late.stop()
    assert [line.text for line in await read(work, version)] == ["one"]


async def test_running_builds_and_those_that_just_ended_are_not_packed(
    work: UnitOfWork, version: Version
) -> None:
    async with work.transaction() as tx:
        await build_logs_append(tx.session, version.build, [Line(1, clock.now(), "one")])
    await pack(work)
    await end(work, version)
    await LogPacker(work).round()
    assert len(await every(work, BuildLog)) == 1


async def test_the_api_reads_and_follows_a_packed_log_from_any_line(
    work: UnitOfWork, version: Version, api: Api
) -> None:
    log = writer(work, version)
    for number in range(PACK_LINES + 3):
        log.write(f"line {number}", Stream.STDOUT)
    await log.stop()
    await end(work, version)
    await pack(work)
    after = PACK_LINES - 2
    answer = await api.get(f"/builds/{version.build.id}/logs?after={after}&limit=3")
    assert [line["number"] for line in answer.json["items"]] == [after + 1, after + 2, after + 3]
    assert answer.json["items"][0]["stream"] == "stdout"
    assert answer.json["next"] == str(after + 3)


def test_a_pack_that_is_none_is_named() -> None:
    with pytest.raises(PackCorrupt):
        unpacked(b"no pack")
