"""A durable in memory: hands messages out one by one, again when they are not answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from events import streams
from events.bus import Message, Stored
from events.memory_log import Log, matches
from events.queues import DurableReading
from events.streams import Durable
from zeitwork import clock
from zeitwork.service import cancel, spawn


@dataclass(slots=True)
class _Pending:
    """A message that was handed out; due again at `due`, in seconds of the monotonic clock."""

    entry: Stored
    deliveries: int
    due: float


class MemoryDurable:
    """Keeps what was handed out until it is answered, as the server does.

    Args:
        advise: stores the advisory about a message that was handed out too often.
    """

    def __init__(self, durable: Durable, log: Log, *, advise: Callable[[Message], None]) -> None:
        self.durable = durable
        self._log = log
        self._advise = advise
        self._position = 0
        self._delivered = 0
        self._pulls = 0
        self._pending: dict[int, _Pending] = {}
        self._answered = asyncio.Event()

    @property
    def settled(self) -> bool:
        """True when nothing waits to be handed out or answered."""
        return not self._pending and self._following() is None

    def reading(self) -> DurableReading:
        waiting = list(self._waiting())
        undone = [pending.entry for pending in self._pending.values()] + waiting
        oldest = min((entry.sequence for entry in undone), default=None)
        return DurableReading(
            name=self.durable.name,
            description=self.durable.description,
            stream=self.durable.stream,
            pending=len(waiting),
            ack_pending=len(self._pending),
            redelivered=sum(pending.deliveries > 1 for pending in self._pending.values()),
            idle_pulls=self._pulls,
            paused=False,
            delivered=self._delivered,
            position=self._position,
            oldest_at=None if oldest is None else self._log.stored_at(oldest),
        )

    async def pull(self) -> MemoryDelivery:
        """The next message that is due, as soon as there is one."""
        self._pulls += 1
        try:
            while True:
                changed = self._log.changed
                self._answered.clear()
                given = self._due() or self._fresh()
                if given is not None:
                    self._delivered += 1
                    return MemoryDelivery(self, given.entry, given.deliveries)
                await self._wait(changed)
        finally:
            self._pulls -= 1

    async def pull_several(self, most: int) -> list[MemoryDelivery]:
        """What is due, as soon as there is something; it does not wait for more."""
        found = [await self.pull()]
        while len(found) < most and (given := self._due() or self._fresh()) is not None:
            self._delivered += 1
            found.append(MemoryDelivery(self, given.entry, given.deliveries))
        return found

    def close(self, sequence: int) -> None:
        """Forget a message for good; a work queue forgets it too."""
        if self._pending.pop(sequence, None) is not None:
            if self._log.stream.retention == "workqueue":
                self._log.remove(sequence)
            self._answered.set()

    def terminate(self, sequence: int) -> None:
        """Forget a message for good because nobody can handle it, and say so."""
        pending = self._pending.get(sequence)
        if pending is not None:
            self._say(streams.terminated_advisory, pending)
            self.close(sequence)

    def postpone(self, sequence: int, seconds: float) -> None:
        """Make a message due in `seconds`."""
        if sequence in self._pending:
            self._pending[sequence].due = clock.monotonic() + seconds
            self._answered.set()

    def _due(self) -> _Pending | None:
        now = clock.monotonic()
        for pending in sorted(self._pending.values(), key=lambda one: one.due):
            if pending.due > now:
                return None
            if self.durable.endless or pending.deliveries < self.durable.max_deliver:
                pending.deliveries += 1
                pending.due = now + self.durable.ack_wait
                return pending
            self._give_up(pending)
        return None

    def _fresh(self) -> _Pending | None:
        if len(self._pending) >= self.durable.max_ack_pending:
            return None
        entry = self._following()
        if entry is None:
            return None
        self._position = entry.sequence
        pending = _Pending(entry, 1, clock.monotonic() + self.durable.ack_wait)
        self._pending[entry.sequence] = pending
        return pending

    def _following(self) -> Stored | None:
        return next(self._waiting(), None)

    def _waiting(self) -> Iterator[Stored]:
        """What matches and was not handed out yet."""
        for entry in self._log.entries:
            if entry.sequence > self._position and any(
                matches(pattern, entry.subject) for pattern in self.durable.filters
            ):
                yield entry

    def _give_up(self, pending: _Pending) -> None:
        """What the server does at `max_deliver`: say so, and stop; a work queue keeps it."""
        del self._pending[pending.entry.sequence]
        self._say(streams.max_deliveries_advisory, pending)

    def _say(self, subject: Callable[[str, str], str], pending: _Pending) -> None:
        said = {
            "stream": self._log.stream.name,
            "consumer": self.durable.name,
            "stream_seq": pending.entry.sequence,
            "deliveries": pending.deliveries,
        }
        addressed = subject(self._log.stream.name, self.durable.name)
        self._advise(Message(addressed, json.dumps(said).encode()))

    async def _wait(self, changed: asyncio.Event) -> None:
        """Until a message comes, one is answered, or one is due again."""
        waits = [spawn(changed.wait(), "log-changed"), spawn(self._answered.wait(), "answered")]
        if self._pending:
            earliest = min(pending.due for pending in self._pending.values())
            delay = max(0.0, earliest - clock.monotonic())
            waits.append(spawn(clock.sleep(delay), "due-again"))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(*waits)


class MemoryDelivery:
    """See `events.delivery.Delivery`."""

    def __init__(self, source: MemoryDurable, entry: Stored, deliveries: int) -> None:
        self.subject: str = entry.subject
        self.data: bytes = entry.data
        self.headers: Mapping[str, str] = entry.headers
        self.stream: str = source.durable.stream
        self.durable: str = source.durable.name
        self.sequence: int = entry.sequence
        self.deliveries: int = deliveries
        self._source = source

    async def ack(self) -> None:
        self._source.close(self.sequence)

    async def nak(self, seconds: float = 0) -> None:
        self._source.postpone(self.sequence, seconds)

    async def term(self) -> None:
        self._source.terminate(self.sequence)

    async def in_progress(self) -> None:
        self._source.postpone(self.sequence, self._source.durable.ack_wait)
