"""The feed decides what the table is; a memory bus and scripted loads stand beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from events import subjects
from events.bus import Message
from events.envelope import wrap
from events.memory import MemoryBus
from events.routes import Route, RouteChanged
from proxy.feed import Feed
from proxy.state import StateFile
from proxy.table import RoutingTable
from tests.support.eventually import eventually
from zeitwork.errors import CacheUnavailable, DatabaseUnavailable


def row(host: str, version: int) -> Route:
    return Route(host=host, version=version, project_id="p", deployment_id=None, targets=())


def told(route: Route) -> Message:
    envelope = wrap(RouteChanged(environment_id="e", route=route), subject="e", source="test")
    return Message.of(envelope, subjects.of(envelope))


class Sources:
    """A database and a cache that are there or away, and wait at a gate when told."""

    def __init__(self) -> None:
        self.database: list[Route] | None = []
        self.cache: list[Route] | None = None
        self.loads = 0
        self.gate: asyncio.Event | None = None

    async def load(self) -> Sequence[Route]:
        self.loads += 1
        if self.database is None:
            raise DatabaseUnavailable("away")
        routes = [*self.database]
        if self.gate is not None:
            await self.gate.wait()
        return routes

    async def cached(self) -> Sequence[Route]:
        if self.cache is None:
            raise CacheUnavailable("away")
        return self.cache


class Place:
    """What a feed under test is connected to."""

    def __init__(self, directory: Path) -> None:
        self.bus = MemoryBus()
        self.sources = Sources()
        self.saved = StateFile(directory / "routes.json")
        self.kept: list[RoutingTable] = []
        self.seen: list[RoutingTable] = []

    @asynccontextmanager
    async def feed(self) -> AsyncIterator[Feed]:
        feed = Feed(
            self.bus,
            self.sources.load,
            cached=self.sources.cached,
            saved=self.saved,
            keep=self.kept.append,
            changed=[self.seen.append],
            reload_seconds=3600,
        )
        await feed.start()
        try:
            yield feed
        finally:
            await feed.stop()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def holds(feed: Feed, *routes: Route) -> Callable[[], bool]:
    return lambda: [*feed.table.routes()] == [*routes]


async def test_a_load_replaces_what_the_disk_said(place: Place) -> None:
    place.saved.write([row("old.test", 1)])
    place.sources.database = [row("a.test", 1)]
    async with place.feed() as feed:
        await eventually(holds(feed, row("a.test", 1)))
        assert feed.source == "database"
        assert [len(table) for table in place.seen] == [1, 1]
        assert place.kept[-1] is feed.table


async def test_events_that_come_during_a_load_are_not_undone_by_it(place: Place) -> None:
    """The load read the rows before the event's transaction and ends after the event came."""
    place.sources.database = [row("a.test", 1), row("b.test", 5)]
    place.sources.gate = asyncio.Event()
    async with place.feed() as feed:
        await eventually(lambda: place.sources.loads)
        await place.bus.publish([told(row("a.test", 2)), told(row("b.test", 4))])
        await eventually(lambda: feed.table.row("a.test"))
        place.sources.gate.set()
        await eventually(lambda: feed.source == "database")
        assert feed.table.row("a.test") == row("a.test", 2)
        assert feed.table.row("b.test") == row("b.test", 5)


async def test_an_event_that_cannot_be_read_makes_the_table_load_again(place: Place) -> None:
    async with place.feed() as feed:
        await eventually(lambda: feed.source == "database")
        place.sources.database = [row("a.test", 1)]
        await place.bus.publish([Message(told(row("a.test", 1)).subject, b"nonsense")])
        await eventually(holds(feed, row("a.test", 1)))


async def test_with_the_database_away_the_cache_only_adds_what_is_newer(place: Place) -> None:
    """A wiped or stale cache must neither empty the table nor lead to instances that are gone."""
    place.saved.write([row("a.test", 5), row("b.test", 1), row("c.test", 1)])
    place.sources.database = None
    place.sources.cache = [row("a.test", 4), row("b.test", 2)]
    async with place.feed() as feed:
        await eventually(holds(feed, row("a.test", 5), row("b.test", 2), row("c.test", 1)))
        assert feed.loaded
        assert await feed.ready() is None


async def test_a_table_from_the_cache_alone_serves_but_is_not_taken_for_whole(place: Place) -> None:
    place.sources.database = None
    place.sources.cache = [row("a.test", 1)]
    async with place.feed() as feed:
        await eventually(holds(feed, row("a.test", 1)))
        assert not feed.loaded
        assert place.kept == []
        assert await feed.ready() is None
        place.sources.database = [row("a.test", 1), row("b.test", 1)]
        await eventually(lambda: feed.loaded)
        assert len(place.kept[-1]) == 2


async def test_a_table_of_events_alone_is_neither_whole_nor_kept(place: Place) -> None:
    place.sources.database = None
    async with place.feed() as feed:
        await eventually(lambda: place.sources.loads)
        await place.bus.publish([told(row("a.test", 1))])
        await eventually(holds(feed, row("a.test", 1)))
        assert (feed.loaded, place.kept) == (False, [])
        assert "away" in str(await feed.ready())


async def test_an_empty_database_is_an_answer(place: Place) -> None:
    async with place.feed() as feed:
        await eventually(lambda: feed.loaded)
        assert len(feed.table) == 0
