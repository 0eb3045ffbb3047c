"""A build's output: numbered lines, stored in batches, and told live to whoever follows."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

from typing_extensions import override

from db.models import Build
from db.queries.builds import build_lock, build_logs_append
from db.session import UnitOfWork
from events import subjects
from events.bus import Bus, Message
from zeitwork import clock, logs
from zeitwork.errors import ZeitworkError
from zeitwork.retry import patient
from zeitwork.service import Worker

_log = logs.get(__name__)
_BATCH_SECONDS = 0.1
_BATCH_LINES = 500
_MOST_LINES = 20_000  # a build that prints more is cut; its end still tells why it failed
_MOST_CHARACTERS = 8_000  # of one line
_PAUSE_SECONDS = 1.0
_LAST_SECONDS = 10.0  # to store the rest when the build has ended


class LogWriter(Worker):
    """Takes lines without waiting; `stop` returns when they are stored or PostgreSQL stays away.

    Lines of a builder that lost its lease are dropped: the next one has their numbers.
    """

    name = "build-log"

    def __init__(
        self, build: Build, *, token: str, work: UnitOfWork, bus: Bus, last_line: int
    ) -> None:
        super().__init__()
        self._build = build
        self._token = token
        self._work = work
        self._bus = bus
        self._number = last_line
        self._pending: list[tuple[int, datetime, str]] = []
        self._written = asyncio.Event()
        self._cut = False

    def write(self, line: str) -> None:
        if self._number < _MOST_LINES:
            self._add(line)
        elif not self._cut:
            self._cut = True
            self._add(f"The output is longer than {_MOST_LINES} lines; the rest is not kept.")

    def conclude(self, line: str) -> None:
        """Write a last line of ours, however long the output was."""
        self._add(line)

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
            lost = len(self._pending)
            _log.error("build log cut", build_id=self._build.id, lines=lost, code=error.code)

    def _add(self, line: str) -> None:
        self._number += 1
        self._pending.append((self._number, clock.now(), line[:_MOST_CHARACTERS]))
        self._written.set()

    async def _flush(self) -> None:
        self._written.clear()
        if not self._pending:
            return
        while self._pending:
            batch = self._pending[:_BATCH_LINES]
            async with self._work.transaction() as tx:
                build = await build_lock(tx.session, self._build.id)
                if build is None or build.lease_token != self._token:
                    self._pending.clear()
                    return
                await build_logs_append(tx.session, self._build, batch)
            del self._pending[: len(batch)]
        await self._tell()

    async def _tell(self) -> None:
        """Ring for whoever follows; they read the table, and look there without us as well."""
        said = json.dumps({"last_line": self._number}).encode()
        try:
            await self._bus.publish([Message(subjects.log("build", self._build.id), said)])
        except ZeitworkError as error:
            _log.debug("followers not told", build_id=self._build.id, code=error.code)
