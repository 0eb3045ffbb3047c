"""One stream's way from the outbox to JetStream; whoever holds its lock moves the events."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence

from db import advisory, outbox
from db.outbox import Claimed
from db.session import UnitOfWork
from events.bus import Bus, StreamFull
from producers.pace import Pace
from zeitwork import clock, failpoints, logs, metrics
from zeitwork.errors import BodyTooLarge, TimedOut, ZeitworkError
from zeitwork.failpoints import Failpoint

_log = logs.get(__name__)
_LOCKS = 0x5A57_4F42 << 32  # "ZWOB", and then which stream
_POLL_SECONDS = 0.25
_PAUSE_SECONDS = 1.0
_FULL_SECONDS = 0.5
_REST_SECONDS = 0.02
_PUBLISH_SECONDS = 20.0  # PostgreSQL ends a transaction that rests for 30 s


class Lane:
    """Claims, publishes and commits in turn, all in the session that holds the stream's lock."""

    def __init__(self, stream: str, *, bus: Bus, work: UnitOfWork) -> None:
        self.stream = stream
        self._bus = bus
        self._work = work
        self._woken = asyncio.Event()
        self._trouble: str | None = None

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        key = _LOCKS | zlib.crc32(self.stream.encode())
        while True:
            try:
                async with advisory.hold(self._work, key) as held:
                    if self._trouble is None:
                        _log.info("relay active", stream=self.stream)
                    await self._relay(held)
            except ZeitworkError as error:
                # Without the lock meanwhile: another process may reach what this one cannot.
                self._note(error)
                await clock.sleep(clock.jitter(_PAUSE_SECONDS))

    async def _relay(self, held: advisory.Held) -> None:
        pace = Pace()
        while True:
            self._woken.clear()
            began = clock.monotonic()
            try:
                moved = await self._move(held, pace.size)
            except StreamFull as error:
                self._note(error)
                if not pace.refused():
                    await clock.sleep(clock.jitter(_FULL_SECONDS))
                continue
            if moved:
                self._note(None)
            if moved < pace.size:
                await self._wait(clock.monotonic() - began)
            pace.accepted()

    async def _move(self, held: advisory.Held, most: int) -> int:
        async with held.transaction() as tx:
            rows = await outbox.claim(tx.direct, self.stream, most=most)
            if not rows:
                return 0
            failpoints.reach(Failpoint.RELAY_CLAIMED)
            parked = await self._publish(rows)
            failpoints.reach(Failpoint.RELAY_PUBLISHED)
            for row, error in parked:
                await outbox.park(tx.session, row, stream=self.stream, error=error)
        for row, error in parked:
            _log.error(
                "event parked: its stream will never take it",
                event_id=row.message.id,
                subject=row.message.subject,
                code=error.code,
                detail=error.message,
            )
        metrics.OUTBOX_BATCH.labels(self.stream).observe(len(rows))
        metrics.OUTBOX_PUBLISHED.inc(len(rows) - len(parked))
        metrics.OUTBOX_PARKED.labels(self.stream).inc(len(parked))
        return len(rows)

    async def _publish(self, rows: Sequence[Claimed]) -> list[tuple[Claimed, BodyTooLarge]]:
        """Publish what can be published; the rows that cannot, ever."""
        try:
            with metrics.OUTBOX_PUBLISH_SECONDS.labels(self.stream).time():
                async with asyncio.timeout(_PUBLISH_SECONDS):
                    return await self._sift(rows)
        except TimeoutError as error:
            raise TimedOut(f"{self.stream} did not take {len(rows)} events in time") from error

    async def _sift(self, rows: Sequence[Claimed]) -> list[tuple[Claimed, BodyTooLarge]]:
        """Halve a batch that is refused for the size of a message until that one is alone."""
        try:
            await self._bus.publish([row.message for row in rows])
        except BodyTooLarge as error:
            if len(rows) == 1:
                return [(rows[0], error)]
        else:
            return []
        middle = len(rows) // 2
        return await self._sift(rows[:middle]) + await self._sift(rows[middle:])

    async def _wait(self, took: float) -> None:
        """Until there is more; under load no sooner than the last move took, up to 20 ms.

        What arrives meanwhile goes together. Otherwise the relay would spend on many small moves
        the processor time that the intake beside it needs.
        """
        if self._woken.is_set():
            await clock.sleep(min(took, _REST_SECONDS))
            return
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            return

    def _note(self, error: ZeitworkError | None) -> None:
        """Say a trouble once, and its end; it may last for hours."""
        trouble = None if error is None else error.code
        if error is not None and trouble != self._trouble:
            _log.warning(
                "relay interrupted", stream=self.stream, code=trouble, detail=error.message
            )
        elif error is None and self._trouble is not None:
            _log.info("relay goes on", stream=self.stream)
        self._trouble = trouble
