"""Feeds the routing table: load it from the database, then follow route events; resync often.

The follower opens before the load, so nothing falls between the two; what arrives during a load
is applied at once and again on top of what was loaded. A load is the truth, events between two
loads are guarded by versions. When database and broker are away, the last table goes on serving;
a process that has not seen the database yet adds what the shared cache knows better than its disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from typing_extensions import override

from events import envelope, subjects
from events.bus import Bus, Stored
from events.event import NewerEvent, UndecodableEvent, UnknownEvent
from events.routes import Route, RouteChanged, RouteRemoved
from events.streams import EVENTS
from proxy.state import StateFile
from proxy.table import RouteEvent, RoutingTable
from zeitwork import clock, logs, metrics
from zeitwork.errors import ZeitworkError
from zeitwork.loops import Loop
from zeitwork.service import Worker

_log = logs.get(__name__)

Load = Callable[[], Awaitable[Sequence[Route]]]
Changed = Callable[[RoutingTable], None]
Source = Literal["nothing", "events", "cache", "disk", "database"]

_RELOAD_SECONDS = 60.0
_LOAD_SECONDS = 15.0
_FOLLOWER_SECONDS = 2.0
_RETRY_SECONDS = 1.0


class Feed(Worker):
    """Holds the current table in `table`; every change of it is one assignment."""

    name = "route-feed"

    def __init__(
        self,
        bus: Bus,
        load: Load,
        *,
        cached: Load,
        saved: StateFile,
        keep: Changed,
        changed: Sequence[Changed] = (),
        reload_seconds: float = _RELOAD_SECONDS,
    ) -> None:
        """Connect nothing yet.

        Args:
            load: reads all routes from the database; raises ZeitworkError when it is away.
            cached: reads the routes in the shared cache. They may be old or few: the cache can be
                wiped at any time, so they are merged by version and never replace a table.
            saved: the table to start from.
            keep: called with each new table that is worth a start: not with one made of events
                and cached rows alone, to which most hosts would be unknown.
            changed: called with each new table, in the order given.
        """
        super().__init__()
        self.table = RoutingTable()
        self.source: Source = "nothing"
        self._bus = bus
        self._load = load
        self._cached = cached
        self._saved = saved
        self._keep = keep
        self._changed = changed
        self._reloading = Loop(
            "route-reload", self._reload, interval=reload_seconds, timeout=2 * _LOAD_SECONDS
        )
        self._followed = asyncio.Event()
        self._load_begun = False
        self._cache_read = False
        self._during_load: dict[str, RouteEvent] | None = None
        self._reason = "no routing table yet"

    @property
    def loaded(self) -> bool:
        """Whether a whole table was there; an unknown host means nothing before."""
        return self.source in {"disk", "database"}

    @override
    async def start(self) -> None:
        if self.source == "nothing":
            routes = await asyncio.to_thread(self._saved.read)
            if routes is not None:
                self._swap(self.table.replace(routes), source="disk")
        await super().start()
        await self._reloading.start()

    @override
    async def stop(self) -> None:
        await self._reloading.stop()
        await super().stop()

    @override
    async def ready(self) -> str | None:
        usable = self.loaded or self.source == "cache"
        return await super().ready() or (None if usable else self._reason)

    @override
    async def run(self) -> None:
        while True:
            try:
                await self._follow()
                _log.warning("route events ended, following again")
            except ZeitworkError as error:
                _log.warning("route events are not available", error=error.message)
            self._followed.set()
            await clock.sleep(clock.jitter(_RETRY_SECONDS))

    async def _follow(self) -> None:
        everything = subjects.aggregate_facts("route")
        async with self._bus.follow(EVENTS.name, everything, after=None) as messages:
            self._followed.set()
            if self._load_begun:
                self._reloading.wake()
            async for message in messages:
                self._receive(message)

    def _receive(self, message: Stored) -> None:
        try:
            event = envelope.unwrap(message.headers, message.data).data
        except (UnknownEvent, UndecodableEvent, NewerEvent) as error:
            _log.warning("route event not understood", code=error.code, sequence=message.sequence)
            self._reloading.wake()
            return
        if isinstance(event, RouteChanged | RouteRemoved):
            self._apply(event)

    def _apply(self, event: RouteEvent) -> None:
        if self._during_load is not None:
            host, version = _about(event)
            earlier = self._during_load.get(host)
            if earlier is None or _about(earlier)[1] <= version:
                self._during_load[host] = event
        table = self.table.apply(event)
        if table is not self.table:
            self._swap(table, source="events" if self.source == "nothing" else self.source)

    async def _reload(self) -> None:
        await self._wait_for_follower()
        self._load_begun = True
        self._during_load = {}
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                routes = await self._load()
            table = self.table.replace(routes)
            for event in self._during_load.values():
                table = table.apply(event)
        except (ZeitworkError, TimeoutError) as error:
            why = str(error) or "the database does not answer in time"
            self._reason = f"no routing table yet: {why}"
            _log.warning("routes cannot be loaded", error=why, table=self.source)
            if self.source != "database":
                await self._read_cache()
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._reloading.wake)
            return
        finally:
            self._during_load = None
        self._swap(table, source="database")

    async def _read_cache(self) -> None:
        """Once, until the database is there: nothing newer gets into the cache without it."""
        if self._cache_read:
            return
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                routes = await self._cached()
        except (ZeitworkError, TimeoutError) as error:
            _log.warning("cached routes cannot be read", error=str(error) or "no answer in time")
            return
        self._cache_read = True
        table = self.table.merge(routes)
        if table is not self.table:
            self._swap(table, source=self.source if self.loaded else "cache")

    async def _wait_for_follower(self) -> None:
        """Let the follower open first; without a broker the table is still worth loading."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FOLLOWER_SECONDS):
                await self._followed.wait()

    def _swap(self, table: RoutingTable, *, source: Source) -> None:
        if source != self.source:
            _log.info("routing table loaded", source=source, routes=len(table))
        self.table = table
        self.source = source
        metrics.EDGE_ROUTES.set(len(table))
        for changed in self._changed:
            changed(table)
        if self.loaded:
            self._keep(table)


def _about(event: RouteEvent) -> tuple[str, int]:
    if isinstance(event, RouteChanged):
        return event.route.host.lower(), event.route.version
    return event.host.lower(), event.version
