"""Several messages in one transaction, for handlers that touch nothing but the database.

An optimisation only: whatever is out of the ordinary undoes it, and then each message goes the way
of a single one, which keeps every promise. See docs/decisions/0010.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from consumers.binding import Taken
from consumers.handling import FactHandler, Part, handle_parts
from consumers.outcomes import Later, Outcome
from consumers.surroundings import around, described
from db.session import UnitOfWork
from events.delivery import Delivery
from events.envelope import Envelope, unwrap
from events.event import Event
from events.streams import Durable
from zeitwork import logs, metrics
from zeitwork.errors import Unavailable, ZeitworkError

_log = logs.get(__name__)

MOST = 16
# What waits longer for a lock may be waiting for a transaction that waits for this one.
_LOCK_SECONDS = 0.25
_SECONDS = 5.0  # until a handler that hangs gives the others back


class OneTransaction:
    """Handles several messages of a durable, one after the other, with one commit; or none."""

    def __init__(
        self,
        work: UnitOfWork,
        durable: Durable,
        consumer: str,
        handlers: Mapping[type[Event], FactHandler[Any]],
        *,
        most: int = MOST,
    ) -> None:
        """Take what belongs to a binding.

        Args:
            consumer: the name in the inbox.
            handlers: all of them without any effect outside of their transaction.
        """
        self.most = most
        self._work = work
        self._durable = durable
        self._consumer = consumer
        self._handlers = handlers

    async def __call__(self, deliveries: Sequence[Delivery]) -> Taken:
        """Handle what comes for the first time and can be read.

        A message that has failed before would take the others with it, so it goes alone.
        """
        fit: list[tuple[Delivery, Part]] = []
        unfit: list[Delivery] = []
        for delivery in deliveries:
            part = self._part(delivery) if delivery.deliveries == 1 else None
            if part is None:
                unfit.append(delivery)
            else:
                fit.append((delivery, part))
        if len(fit) < 2:  # noqa: PLR2004 - one is not several
            return Taken((), [*(delivery for delivery, _ in fit), *unfit])
        # Rows are locked in the order of their aggregates, by every replica.
        fit.sort(key=lambda each: _aggregate(each[1].envelope))
        outcomes: list[Outcome] = []
        undone = await self._undone([part for _, part in fit], outcomes)
        metrics.SHARED.labels(self._durable.name, "undone" if undone else "kept").inc()
        first = [delivery for delivery, _ in fit]
        if not undone:
            return Taken(list(zip(first, outcomes, strict=True)), unfit)
        # Whoever was in the way goes last, or the others would wait for it once more.
        culprit = len(outcomes) - isinstance(outcomes[-1] if outcomes else None, Later)
        return Taken((), [*first[:culprit], *first[culprit + 1 :], *first[culprit:][:1], *unfit])

    def _part(self, delivery: Delivery) -> Part | None:
        """None of what cannot be read or is not for us; alone, it will be told why."""
        try:
            envelope = unwrap(delivery.headers, delivery.data)
        except ZeitworkError:
            return None
        handler = self._handlers.get(type(envelope.data))
        surrounded = partial(around, delivery, self._durable)
        return None if handler is None else Part(envelope, handler, surrounded)

    async def _undone(self, parts: Sequence[Part], outcomes: list[Outcome]) -> bool:
        """Handle them; True when nothing of it was kept, or nobody knows."""
        try:
            async with asyncio.timeout(min(_SECONDS, self._durable.deadline)):
                await handle_parts(
                    self._work, self._consumer, parts, outcomes, lock_seconds=_LOCK_SECONDS
                )
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            code, detail = Unavailable.code, "a call that a handler waited for was cancelled"
        except Exception as error:  # noqa: BLE001 - each will tell its own when it is handled alone
            code, detail = described(error)
        else:
            last = outcomes[-1]
            if not isinstance(last, Later):
                return False
            code, detail = "later", last.reason
        _log.info(
            "shared transaction undone",
            durable=self._durable.name,
            messages=len(parts),
            code=code,
            detail=detail,
        )
        return True


def _aggregate(envelope: Envelope) -> tuple[str, str]:
    return envelope.project_id or "", envelope.subject
