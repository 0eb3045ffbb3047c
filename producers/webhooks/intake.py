"""Stores webhook deliveries; those that arrive while a transaction runs share the next one.

Each delivery would otherwise pay for a transaction of its own: two more round trips, a commit that
waits for the disk, and most of the processor time. Databases do the same with their own log (group
commit: DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984).
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from db.direct import RowLocked
from db.queries.github import NewDelivery, deliveries_insert
from db.session import UnitOfWork
from events.event import Event
from zeitwork import failpoints, logs
from zeitwork.errors import DatabaseUnavailable, IntakeFull
from zeitwork.failpoints import Failpoint
from zeitwork.service import Worker

_log = logs.get(__name__)

_MOST_TOGETHER = 64  # deliveries in one transaction
_MOST_BYTES = 4 * 1024 * 1024  # compressed bodies in one statement, unless one alone is larger
_MOST_WAITING = 1000
_STOPS = "The API stops; deliver it again."


@dataclass(frozen=True, slots=True)
class Arrival:
    """A delivery, and the event that it causes; None when it was answered without one."""

    delivery: NewDelivery
    event: Event | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An arrival whose caller waits; `context` is the caller's, for the event's envelope."""

    arrival: Arrival
    stored: asyncio.Future[bool]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    @property
    def size(self) -> int:
        return len(self.arrival.delivery.body)


class Intake(Worker):
    """Takes deliveries of one process in, in the order of their arrival; a Service."""

    name = "intake"

    def __init__(self, work: UnitOfWork) -> None:
        super().__init__()
        self._work = work
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._ended = False

    async def store(self, arrival: Arrival) -> bool:
        """Return once the delivery and its event are committed; False if it was stored before.

        A caller that is cancelled meanwhile does not take its delivery back.

        Raises:
            DatabaseUnavailable: the outcome may be unknown; delivering again is safe.
            BodyTooLarge: no stream takes the event.
            InvalidInput: the database cannot hold a value of it.
            IntakeFull: too many wait; this one was not stored.
        """
        if self._ended:
            raise DatabaseUnavailable(_STOPS)
        if len(self._waiting) >= _MOST_WAITING:
            raise IntakeFull(f"{_MOST_WAITING} webhooks wait to be stored; deliver it again later.")
        waiting = _Waiting(arrival, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.stored

    @override
    async def run(self) -> None:
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    await self._settle(self._next())
        finally:
            self._ended = True
            _answer_all(self._waiting, _STOPS)
            self._waiting.clear()

    def _next(self) -> list[_Waiting]:
        """The oldest, as many as one transaction takes; at least one."""
        together = [self._waiting.popleft()]
        size = together[0].size
        while self._waiting and len(together) < _MOST_TOGETHER:
            size += self._waiting[0].size
            if size > _MOST_BYTES:
                break
            together.append(self._waiting.popleft())
        return together

    async def _settle(self, together: Sequence[_Waiting]) -> None:
        """Tell each caller how it went.

        A delivery that cannot be stored does not hinder its neighbours. A database that does not
        answer is everybody's.
        """
        try:
            await self._store(together)
        except BaseException:
            _answer_all(together, _STOPS)
            raise

    async def _store(self, together: Sequence[_Waiting], *, hurry: bool = False) -> None:
        try:
            new = await self._commit(together, hurry=hurry)
        except Exception as error:  # noqa: BLE001 - its callers get it
            locked = isinstance(error, RowLocked)
            if isinstance(error, DatabaseUnavailable) and not locked:
                _answer_all(together, error.message)
            elif len(together) == 1:
                _fail(together[0], error)
            else:
                _log.info(
                    "webhooks stored one by one", together=len(together), error=type(error).__name__
                )
                # They have waited for the lock once, all of them; another time would add up.
                for each in together:
                    await self._store([each], hurry=locked)
        else:
            for each in together:
                if not each.stored.done():
                    each.stored.set_result(each.arrival.delivery.id in new)

    async def _commit(self, together: Sequence[_Waiting], *, hurry: bool) -> frozenset[str]:
        """The ids of the deliveries that were not known before."""
        async with self._work.transaction() as tx:
            if hurry:
                await tx.direct.hurry()
            new = await deliveries_insert(tx.direct, [each.arrival.delivery for each in together])
            for each in together:
                delivery, event = each.arrival.delivery, each.arrival.event
                if event is not None and delivery.id in new:
                    each.context.run(tx.emit, event, subject=delivery.id)
            failpoints.reach(Failpoint.WEBHOOK_STORED)
        failpoints.reach(Failpoint.WEBHOOK_COMMITTED)
        return new


def _answer_all(together: Iterable[_Waiting], why: str) -> None:
    for each in together:
        _fail(each, DatabaseUnavailable(why))


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.stored.done():
        waiting.stored.set_exception(error)
