"""A build's output: numbered lines, stored in batches, and told live to whoever follows."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

from typing_extensions import override

from db.models import Build
from db.queries.builds import build_logs_append
from db.session import UnitOfWork
from events import subjects
from events.bus import Bus, Message
from zeitwork import clock, logs
from zeitwork.errors import ZeitworkError
from zeitwork.service import Worker

_log = logs.get(__name__)
_BATCH_SECONDS = 0.1
_BATCH_LINES = 500
_MOST_LINES = 20_000  # a build that prints more is cut; its end still tells why it failed
_MOST_CHARACTERS = 8_000  # of one line


class LogWriter(Worker):
    """Takes lines without waiting; `stop` returns when all of them are stored."""

    name = "build-log"

    def __init__(self, build: Build, *, work: UnitOfWork, bus: Bus, last_line: int) -> None:
        super().__init__()
        self._build = build
        self._work = work
        self._bus = bus
        self._number = last_line
        self._pending: list[tuple[int, datetime, str]] = []
        self._written = asyncio.Event()
        self._cut = False

    def write(self, line: str) -> None:
        if self._number >= _MOST_LINES:
            if self._cut:
                return
            self._cut = True
            line = f"The output is longer than {_MOST_LINES} lines; the rest is not kept."
        self._number += 1
        self._pending.append((self._number, clock.now(), line[:_MOST_CHARACTERS]))
        self._written.set()

    @override
    async def run(self) -> None:
        while True:
            await self._written.wait()
            await clock.sleep(_BATCH_SECONDS)
            await self._flush()

    @override
    async def stop(self) -> None:
        await super().stop()
        await self._flush()

    async def _flush(self) -> None:
        self._written.clear()
        while self._pending:
            batch = self._pending[:_BATCH_LINES]
            try:
                async with self._work.transaction() as tx:
                    await build_logs_append(tx.session, self._build, batch)
                await self._tell(batch)
            except ZeitworkError as error:
                # Kept and tried again with the next lines, or at the end.
                _log.warning("build log not stored", build_id=self._build.id, code=error.code)
                return
            del self._pending[: len(batch)]

    async def _tell(self, batch: list[tuple[int, datetime, str]]) -> None:
        lines = [
            {"number": number, "at": at.isoformat(), "line": line} for number, at, line in batch
        ]
        subject = subjects.log("build", self._build.id)
        await self._bus.publish([Message(subject, json.dumps({"lines": lines}).encode())])
