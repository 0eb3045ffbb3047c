"""How full the outbox is: for metrics, for readiness, and for the bound of what is taken in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from typing_extensions import override

from db import outbox
from db.outbox import Backlog
from db.session import UnitOfWork
from events import streams
from zeitwork import clock, metrics
from zeitwork.errors import OutboxFull
from zeitwork.loops import Loop

_INTERVAL_SECONDS = 1.0


class OutboxGauge(Loop):
    """Looks once a second, in every API process, whichever holds the relay's locks.

    Between looks it adds what this process has emitted. Other processes are not seen until the
    next look, so the bound may be overrun by what they emit in a second. Only the intake asks it:
    consumers must emit in order to work off what fills the streams behind the outbox.
    """

    def __init__(self, work: UnitOfWork, *, max_rows: int, max_age_seconds: float) -> None:
        super().__init__("outbox-gauge", self.look, interval=_INTERVAL_SECONDS)
        self._work = work
        self._max_rows = max_rows
        self._max_age = max_age_seconds
        self._depth = 0
        self._seen_emitted = 0
        self._late: str | None = None

    @override
    async def ready(self) -> str | None:
        return await super().ready() or self._late

    async def look(self) -> None:
        # Before the look: what is committed meanwhile may be counted twice.
        emitted = self._work.events_committed
        async with self._work.database.read() as session:
            waiting = await outbox.backlog(session)
        now = clock.now()
        self._depth = sum(each.depth for each in waiting.values())
        self._seen_emitted = emitted
        self._late = overdue(waiting, now=now, max_age_seconds=self._max_age)
        for stream in {*waiting, *(stream.name for stream in streams.EMITTED)}:
            found = waiting.get(stream)
            metrics.OUTBOX_DEPTH.labels(stream).set(found.depth if found else 0)
            metrics.OUTBOX_OLDEST.labels(stream).set(_age(found, now) if found else 0)

    def admit(self) -> None:
        """Pass while there is room for what a call may emit.

        Raises:
            OutboxFull: there is none.
        """
        depth = self._depth + self._work.events_committed - self._seen_emitted
        if depth >= self._max_rows:
            raise OutboxFull(
                f"{depth} events wait to be published, the bound is {self._max_rows}. Nothing was "
                "stored; try again later. Operators: look at NATS and at the queues."
            )


def overdue(waiting: Mapping[str, Backlog], *, now: datetime, max_age_seconds: float) -> str | None:
    """The reason for not being ready: which stream's events have waited for too long."""
    late = [
        f"{found.depth} events wait for {stream}, the oldest for {_age(found, now):.0f} s"
        for stream, found in sorted(waiting.items())
        if _age(found, now) > max_age_seconds
    ]
    return f"{'; '.join(late)} (limit {max_age_seconds:g} s)" if late else None


def _age(backlog: Backlog, now: datetime) -> float:
    return max(0.0, (now - backlog.oldest).total_seconds())
