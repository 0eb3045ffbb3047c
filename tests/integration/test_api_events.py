"""Events and logs: read page by page, followed live, resumed, let go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from typing_extensions import override

from db.models import Build, Instance
from db.queries.build_logs import Line, build_logs_append
from db.queries.instances import instance_create
from db.session import UnitOfWork
from events import subjects
from events.bus import Message, Stored
from events.memory import MemoryBus
from events.states import BuildState
from tests.support.api import Api, SentEvent
from tests.support.eventually import eventually
from tests.support.factories import (
    Version,
    add_organisation,
    add_site,
    add_version,
    events_of,
    push,
)
from zeitwork import clock

T = TypeVar("T")


class CountingBus(MemoryBus):
    """Knows how many readers it has."""

    def __init__(self) -> None:
        super().__init__()
        self.readers = 0

    @override
    @asynccontextmanager
    async def follow(
        self, stream: str, subject: str, *, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[Stored]]:
        async with super().follow(stream, subject, after=after) as stored:
            self.readers += 1
            try:
                yield stored
            finally:
                self.readers -= 1


@pytest.fixture
def bus() -> CountingBus:
    return CountingBus()


async def take(events: AsyncIterator[T], count: int) -> list[T]:
    async with asyncio.timeout(15):
        return [await anext(events) for _ in range(count)]


async def rest(events: AsyncIterator[T]) -> list[T]:
    async with asyncio.timeout(15):
        return [event async for event in events]


# --- The log --------------------------------------------------------------------------------------


async def test_events_are_read_oldest_first_page_by_page(api: Api, work: UnitOfWork) -> None:
    for _ in range(5):
        await add_organisation(work)
    wanted = [row.event_id for row in await events_of(work.database)]
    seen: list[str] = []
    cursors: list[str | None] = []
    path = "/events?limit=2"
    for _ in range(3):
        page = (await api.get(path)).json
        seen += [event["id"] for event in page["items"]]
        cursors.append(page["next"])
        path = f"/events?limit=2&after={page['next']}"
    assert seen == wanted
    assert [cursor is None for cursor in cursors] == [False, False, True]


async def test_an_event_is_shown_whole(api: Api, work: UnitOfWork) -> None:
    site = await add_site(work, "shop")
    [row] = await events_of(work.database, type_="project.created")
    [shown] = (await api.get("/events?type=project.created")).json["items"]
    assert shown == {
        "id": row.event_id,
        "type": "project.created",
        "version": 1,
        "time": shown["time"],
        "subject": site.project.id,
        "correlation_id": row.correlation_id,
        "causation_id": None,
        "actor": "system",
        "organisation_id": site.organisation_id,
        "project_id": site.project.id,
        "data": {
            "project_id": site.project.id,
            "environment_id": site.environment.id,
            "slug": "shop",
            "github_repo": "acme/shop",
        },
    }


async def test_events_are_filtered(api: Api, work: UnitOfWork) -> None:
    shop, blog = await add_site(work, "shop"), await add_site(work, "blog")
    version = await add_version(work, shop)
    await add_version(work, blog)

    async def types(query: str) -> list[str]:
        return [event["type"] for event in (await api.get(f"/events?{query}")).json["items"]]

    own = ["project.created", "deployment.created", "build.requested"]
    assert await types("project=shop") == own
    assert await types(f"project={shop.project.id}") == own
    assert await types(f"subject={version.build.id}") == ["build.requested"]
    assert await types(f"correlation={version.deployment.correlation_id}") == own[1:]
    assert await types("project=blog&type=build.requested") == ["build.requested"]
    assert await types("type=nothing.happened") == []


# --- The stream -----------------------------------------------------------------------------------


async def say(bus: MemoryBus, *numbers: int) -> None:
    envelopes = [push(f"dlv-{number}") for number in numbers]
    await bus.publish([Message.of(each, subjects.of(each)) for each in envelopes])


def deliveries(events: Sequence[SentEvent]) -> list[str]:
    return [event.data["data"]["delivery_id"] for event in events]


async def test_new_events_are_followed(api: Api, bus: CountingBus) -> None:
    await say(bus, 1)
    async with api.follow("/events/stream") as events:
        await say(bus, 2, 3)
        seen = await take(events, 2)
    assert deliveries(seen) == ["dlv-2", "dlv-3"]
    assert [(event.event, event.id) for event in seen] == [("event", 2), ("event", 3)]
    assert seen[0].data["type"] == "push.received"


async def test_a_reader_resumes_behind_what_it_saw_last(api: Api, bus: CountingBus) -> None:
    async with api.follow("/events/stream") as events:
        await say(bus, 1, 2)
        [first] = await take(events, 1)
    await say(bus, 3, 4)
    async with api.follow("/events/stream", last_id=first.id) as events:
        assert deliveries(await take(events, 3)) == ["dlv-2", "dlv-3", "dlv-4"]


async def test_a_reader_with_an_id_that_is_none_starts_with_what_is_new(
    api: Api, bus: CountingBus
) -> None:
    await say(bus, 1)
    async with api.follow("/events/stream", last_id="one") as events:
        await say(bus, 2)
        assert deliveries(await take(events, 1)) == ["dlv-2"]


async def test_an_event_of_another_version_is_left_out(api: Api, bus: CountingBus) -> None:
    async with api.follow("/events/stream") as events:
        envelope = push("dlv-1")
        subject = subjects.of(envelope)
        for header, value in (
            ("ce-type", "zeitwork.tea.made"),
            ("ce-schemaversion", "99"),
            ("ce-time", "noon"),
        ):
            headers = {**envelope.headers(), header: value}
            await bus.publish([Message(subject, envelope.data.encode(), headers)])
        await bus.publish([Message(subject, b"no JSON", envelope.headers())])
        await bus.publish([Message(subject, b"{}", {})])
        await say(bus, 2)
        assert deliveries(await take(events, 1)) == ["dlv-2"]


async def test_a_reader_that_went_away_is_let_go(api: Api, bus: CountingBus) -> None:
    async with api.follow("/events/stream") as events:
        await say(bus, 1)
        await take(events, 1)
        assert bus.readers == 1
    await eventually(lambda: bus.readers == 0)


# --- The log of a build ---------------------------------------------------------------------------


async def write(
    work: UnitOfWork, bus: MemoryBus, version: Version, *numbers: int, last: bool = False
) -> None:
    """What a builder does with its lines; after the last ones the build has ended."""
    now = clock.now()
    async with work.transaction() as tx:
        build = await tx.session.get_one(Build, version.build.id)
        await build_logs_append(tx.session, build, [Line(n, now, f"line {n}") for n in numbers])
        if last:
            build.state = BuildState.SUCCEEDED
    await bus.publish([Message(subjects.log("build", version.build.id), b"news")])


@pytest.fixture
async def version(work: UnitOfWork) -> Version:
    return await add_version(work, await add_site(work))


async def test_a_build_log_is_read_page_by_page(
    api: Api, work: UnitOfWork, bus: CountingBus, version: Version
) -> None:
    await write(work, bus, version, *range(1, 6))
    path = f"/builds/{version.build.id}/logs"
    first = (await api.get(f"{path}?limit=3")).json
    assert [line["line"] for line in first["items"]] == ["line 1", "line 2", "line 3"]
    second = (await api.get(f"{path}?limit=3&after={first['next']}")).json
    assert [line["number"] for line in second["items"]] == [4, 5]
    assert second["next"] is None


async def test_a_build_log_is_followed_until_the_build_ends(
    api: Api, work: UnitOfWork, bus: CountingBus, version: Version
) -> None:
    await write(work, bus, version, 1, 2)
    async with api.follow(f"/builds/{version.build.id}/logs/stream") as events:
        seen = await take(events, 2)
        await write(work, bus, version, 3)
        seen += await take(events, 1)
        await write(work, bus, version, 4, last=True)
        seen += await rest(events)
    assert [(event.event, event.id) for event in seen] == [
        ("line", 1),
        ("line", 2),
        ("line", 3),
        ("line", 4),
        ("end", None),
    ]
    assert [event.data["line"] for event in seen[:4]] == [f"line {n}" for n in range(1, 5)]
    assert seen[-1].data["state"] == "succeeded"
    await eventually(lambda: bus.readers == 0)


async def test_a_build_log_is_resumed(
    api: Api, work: UnitOfWork, bus: CountingBus, version: Version
) -> None:
    await write(work, bus, version, *range(1, 1203), last=True)
    path = f"/builds/{version.build.id}/logs/stream"
    async with api.follow(path, last_id=2) as events:
        seen = await rest(events)
    assert [event.id for event in seen] == [*range(3, 1203), None]


async def test_lines_without_news_are_found_too(
    api: Api, work: UnitOfWork, version: Version
) -> None:
    """The bus may lose a signal; the rows count."""
    async with api.follow(f"/builds/{version.build.id}/logs/stream") as events:
        await write(work, MemoryBus(), version, 1)
        assert [event.id for event in await take(events, 1)] == [1]


# --- The output of an instance --------------------------------------------------------------------


async def test_the_output_of_an_instance_is_followed_and_resumed(
    api: Api, work: UnitOfWork, bus: CountingBus, version: Version
) -> None:
    async with work.transaction() as tx:
        instance: Instance = instance_create(tx, version.deployment, slot=0)
    subject = subjects.log("instance", instance.id)

    async def prints(*texts: str) -> None:
        lines = [{"at": "now", "line": text} for text in texts]
        await bus.publish([Message(subject, json.dumps({"lines": lines}).encode())])

    await prints("one", "two")
    path = f"/instances/{instance.id}/logs/stream"
    async with api.follow(path) as events:
        await prints("three\r\nevent: forged")
        first, second = await take(events, 2)
    assert [line["line"] for line in first.data["lines"]] == ["one", "two"]
    assert second.data["lines"][0]["line"] == "three\r\nevent: forged"
    assert (first.event, first.id, second.id) == ("lines", 1, 2)
    async with api.follow(path, last_id=first.id) as events:
        assert await take(events, 1) == [second]
