"""A build's output: numbered lines, stored in batches, and told live to whoever follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Generator
from typing import Any

from typing_extensions import override

from db.models import Build
from db.queries.build_logs import Line, build_logs_append
from db.queries.builds import build_lock
from db.session import UnitOfWork
from events import subjects
from events.builds import Stream
from events.bus import Bus, Message
from zeitwork import clock, logs
from zeitwork.errors import ZeitworkError
from zeitwork.retry import patient
from zeitwork.service import Worker

_log = logs.get(__name__)
_BATCH_SECONDS = 0.1
_BATCH_LINES = 1_000
_MOST_WAITING = 5_000  # lines in memory, from where on the build's programs have to wait
_MOST_LINES = 210_000  # the transcript cuts what programs print; this bounds our own lines too
_MOST_CHARACTERS = 8_000  # of one line
_PAUSE_SECONDS = 1.0
_LAST_SECONDS = 10.0  # to store the rest when the build has ended


class LogWriter(Worker):
    """Takes lines without waiting; `stop` returns when they are stored or PostgreSQL stays away.

    Lines of a builder that lost its lease are dropped: the next one has their numbers.
    """

    name = "build-log"

    def __init__(
        self,
        build: Build,
        *,
        token: str,
        work: UnitOfWork,
        bus: Bus,
        last_line: int,
        most_lines: int = _MOST_LINES,
    ) -> None:
        super().__init__()
        self._build = build
        self._token = token
        self._work = work
        self._bus = bus
        self._number = last_line
        self._most_lines = most_lines
        self._waiting: list[Line] = []
        self._batch: list[Line] = []
        self._written = asyncio.Event()
        self._room = _Room()
        self._cut = False

    def write(self, text: str, stream: Stream = Stream.PLATFORM) -> Awaitable[None] | None:
        """Take a line; what comes back, if anything, is to be awaited before more is printed."""
        if self._number < self._most_lines:
            self._add(text, stream)
        elif not self._cut:
            self._cut = True
            self._add(
                f"The output is longer than {self._most_lines} lines; the rest is not kept.",
                Stream.PLATFORM,
            )
        return self._room if len(self._waiting) >= _MOST_WAITING else None

    def conclude(self, text: str) -> None:
        """Write a last line of ours, however long the output was."""
        self._add(text, Stream.PLATFORM)

    @override
    async def run(self) -> None:
        while True:
            await self._written.wait()
            await clock.sleep(_BATCH_SECONDS)
            try:
                await self._flush()
            except ZeitworkError as error:
                _log.warning("build log not stored", build_id=self._build.id, code=error.code)
                await clock.sleep(clock.jitter(_PAUSE_SECONDS))
                self._written.set()

    @override
    async def stop(self) -> None:
        await super().stop()
        try:
            await patient(_LAST_SECONDS)(self._flush)
        except ZeitworkError as error:
            lost = len(self._batch) + len(self._waiting)
            _log.error("build log cut", build_id=self._build.id, lines=lost, code=error.code)

    def _add(self, text: str, stream: Stream) -> None:
        for each in text.split("\n"):
            self._number += 1
            line = Line(self._number, clock.now(), each[:_MOST_CHARACTERS], stream)
            self._waiting.append(line)
        if len(self._waiting) >= _MOST_WAITING:
            self._room.close()
        self._written.set()

    async def _flush(self) -> None:
        self._written.clear()
        if not self._batch and not self._waiting:
            return
        while self._next():
            async with self._work.transaction() as tx:
                build = await build_lock(tx.session, self._build.id)
                if build is None or build.lease_token != self._token or build.log_packed:
                    self._batch.clear()
                    self._waiting.clear()
                    break
                await build_logs_append(tx.session, self._build, self._batch)
            self._batch.clear()
        else:
            await self._tell()
        self._room.open()

    def _next(self) -> bool:
        """Have a batch to store: the one that was not stored, or the next. False at the end."""
        if not self._batch:
            self._batch, self._waiting = self._waiting[:_BATCH_LINES], self._waiting[_BATCH_LINES:]
        if len(self._waiting) < _MOST_WAITING:
            self._room.open()
        return bool(self._batch)

    async def _tell(self) -> None:
        """Ring for whoever follows; they read the table, and look there without us as well."""
        said = json.dumps({"last_line": self._number}).encode()
        try:
            await self._bus.publish([Message(subjects.log("build", self._build.id), said)])
        except ZeitworkError as error:
            _log.debug("followers not told", build_id=self._build.id, code=error.code)


class _Room:
    """May be awaited, and need not be: over when there is room for more lines."""

    def __init__(self) -> None:
        self._free = asyncio.Event()
        self._free.set()

    def close(self) -> None:
        self._free.clear()

    def open(self) -> None:
        self._free.set()

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._wait().__await__()

    async def _wait(self) -> None:
        await self._free.wait()
