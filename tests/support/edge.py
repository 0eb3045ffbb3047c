"""The real proxy server on a real socket, on the event loop that it has in production.

It runs on a thread of its own: neither the test nor its instances can keep it from working.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import structlog
import uvloop

from events.routes import Route, RouteChanged, RouteRemoved, Target
from proxy.edge import Edge
from proxy.limits import Limits
from proxy.pool import Upstreams
from proxy.server import Server
from proxy.table import RoutingTable
from tests.support.upstreams import Instance, Message, Wire
from zeitwork import logs

T = TypeVar("T")
_STOP_SECONDS = 30.0
_LIMIT = 1 << 20


class Board:
    """The routing table of a test, changed by hand."""

    def __init__(self) -> None:
        self.table = RoutingTable()
        self.loaded = True


class Proxy:
    """A running proxy."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, log: io.StringIO) -> None:
        self.board = Board()
        self.upstreams = Upstreams(limits)
        self.edge = Edge(self.board, self.upstreams, limits)
        self.server = Server(self.edge, host="127.0.0.1", port=0)
        self._loop = loop
        self._log = log
        self._version = 0

    @property
    def port(self) -> int:
        return self.server.port

    def requests(self) -> list[dict[str, Any]]:
        """The lines of the access log so far."""
        lines = [json.loads(line) for line in self._log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == "request"]

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the proxy's loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def call(self, function: Callable[[], T]) -> T:
        """Call a function on the proxy's loop."""

        async def calling() -> T:
            return function()

        return await self.run(calling())

    async def route(self, host: str, *targets: Target | Instance) -> None:
        """Point a host at these targets, as a route event would."""
        self._version += 1
        found = [one.target if isinstance(one, Instance) else one for one in targets]
        route = Route(
            host=host,
            version=self._version,
            project_id=f"prj_{host}",
            deployment_id=None,
            targets=tuple(found),
        )
        await self._apply(RouteChanged(environment_id="env_1", route=route))

    async def unroute(self, host: str) -> None:
        self._version += 1
        await self._apply(RouteRemoved(environment_id="env_1", host=host, version=self._version))

    async def in_flight(self) -> int:
        """Requests that some instance with a route has now."""
        pool = self.upstreams._instances
        return await self.call(lambda: sum(one.in_flight for one in pool.values()))

    async def idle(self) -> int:
        """Connections kept for another request."""
        pool = self.upstreams._instances
        return await self.call(lambda: sum(one.idle for one in pool.values()))

    async def unsent(self) -> int:
        """Bytes that visitors have not taken yet."""
        connections = self.server.connections
        return await self.call(
            lambda: sum(one.transport.get_write_buffer_size() for one in connections)
        )

    async def _apply(self, event: RouteChanged | RouteRemoved) -> None:
        def change() -> None:
            self.board.table = self.board.table.apply(event)
            self.upstreams.table_changed(self.board.table, None)

        await self.call(change)


@asynccontextmanager
async def proxying(**changes: Any) -> AsyncIterator[Proxy]:
    """A proxy with these limits changed; an exception in its event loop fails the test."""
    errors: list[dict[str, Any]] = []
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    thread = threading.Thread(target=loop.run_forever, name="proxy", daemon=True)
    thread.start()
    with logging_lines() as log:
        proxy = Proxy(
            loop, replace(Limits(), **{"linger_seconds": 0.5, "drain_seconds": 5.0, **changes}), log
        )
        try:
            await proxy.run(proxy.server.start())
            yield proxy
        finally:
            await proxy.run(proxy.server.stop())
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_STOP_SECONDS)
            loop.close()
    assert not errors, errors


@contextmanager
def logging_lines() -> Iterator[io.StringIO]:
    """Log as a process does, into a buffer."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    logs.configure(service="proxy", fmt="json", stream=stream)
    try:
        yield stream
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        root.handlers[:] = handlers
        root.setLevel(level)


@asynccontextmanager
async def visitor(proxy: Proxy | int) -> AsyncIterator[Wire]:
    """A connection to a proxy."""
    port = proxy if isinstance(proxy, int) else proxy.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LIMIT)
    wire = Wire(reader, writer)
    try:
        yield wire
    finally:
        writer.transport.abort()


async def ask(proxy: Proxy | int, request: bytes) -> Message:
    """One request on a connection of its own."""
    async with visitor(proxy) as wire:
        await wire.send(request)
        return await wire.message()


def get(path: str = "/", *, host: str = "a.test", fields: str = "") -> bytes:
    """A GET; each of `fields` ends in CRLF."""
    return f"GET {path} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n".encode("latin-1")
