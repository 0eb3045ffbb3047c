"""Server-sent events: ids for resuming, heartbeats, and an end when the reader is gone.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from aiohttp import web

from zeitwork import clock
from zeitwork.service import cancel, spawn

_HEARTBEAT_SECONDS = 15.0
_SEQUENCE = re.compile(r"[0-9]{1,18}")
_LINE_END = re.compile(r"\r\n|\r|\n")
_Item = TypeVar("_Item")


class Bell:
    """Rings when there is something to look at; rings during a look are folded into one."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Return at the next ring, or after `seconds` at the latest."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return
        self._rung.clear()


class EventStream:
    """An open stream of events to one reader."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._written_at = clock.monotonic()
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )

    @property
    def last_id(self) -> int | None:
        """What the reader saw last, when it comes back."""
        given = self._request.headers.get("Last-Event-ID", "")
        return int(given) if _SEQUENCE.fullmatch(given) else None

    async def open(self) -> None:
        await self.response.prepare(self._request)
        await self._write(": open\n\n")

    async def send(self, data: str, *, event: str, id_: int | None = None) -> None:
        head = f"id: {id_}\n" if id_ is not None else ""
        body = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
        await self._write(f"{head}event: {event}\n{body}\n")

    async def keep_open(self) -> None:
        """Write a comment when nothing was written for a while; it notices a gone reader."""
        if clock.monotonic() - self._written_at >= _HEARTBEAT_SECONDS:
            await self._beat()

    @asynccontextmanager
    async def listening(self, items: AsyncIterator[object]) -> AsyncIterator[Bell]:
        """Open the stream and turn `items` into a bell that rings at each of them."""
        await self.open()
        bell = Bell()
        ringing = spawn(_ring(items, bell), "sse-bell")
        try:
            yield bell
        finally:
            await cancel(ringing)

    async def alive(self, items: AsyncIterator[_Item]) -> AsyncIterator[_Item]:
        """The items to their end; comments keep the connection open between them."""
        pending = spawn(_next(items), "sse-next")
        try:
            while True:
                done, _ = await asyncio.wait({pending}, timeout=_HEARTBEAT_SECONDS)
                if not done:
                    await self._beat()
                    continue
                try:
                    item = pending.result()
                except StopAsyncIteration:
                    return
                yield item
                pending = spawn(_next(items), "sse-next")
        finally:
            await cancel(pending)

    async def _beat(self) -> None:
        await self._write(f": {clock.now().isoformat()}\n\n")

    async def _write(self, text: str) -> None:
        await self.response.write(text.encode())
        self._written_at = clock.monotonic()


async def _next(items: AsyncIterator[_Item]) -> _Item:
    return await anext(items)


async def _ring(items: AsyncIterator[object], bell: Bell) -> None:
    async for _ in items:
        bell.ring()
