"""The bus inside one process, for tests and the simulation. Nothing survives; ages do not count."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from events import streams
from events.bus import Message, Stored, StreamFull, addressed
from events.streams import Stream
from zeitwork import clock
from zeitwork.errors import BrokerUnavailable

_LISTEN_MESSAGES = 1024


class MemoryBus:
    """Streams as lists, signals as queues."""

    name = "memory bus"

    def __init__(self) -> None:
        self._logs = {stream.name: _Log(stream) for stream in streams.STREAMS}
        self._listeners: list[_Listener] = []
        self._turn = itertools.count()

    async def start(self) -> None:
        """Nothing to do: it is always there."""

    async def ready(self) -> str | None:
        return None

    async def stop(self) -> None:
        """Nothing to do: whoever listens or follows ends by itself."""

    async def publish(self, messages: Sequence[Message]) -> None:
        rows = [addressed(message) for message in messages]
        for stream, run in itertools.groupby(rows, key=lambda row: row[0]):
            self._logs[stream.name].append([message for _, message in run])

    async def signal(self, subject: str, data: bytes = b"") -> None:
        message = Message(subject, data)
        groups: dict[str, list[_Listener]] = {}
        for listener in self._listeners:
            if _matches(listener.subject, subject):
                if listener.queue is None:
                    listener.offer(message)
                else:
                    groups.setdefault(listener.queue, []).append(listener)
        for members in groups.values():
            members[next(self._turn) % len(members)].offer(message)

    @asynccontextmanager
    async def listen(
        self, subject: str, *, queue: str | None = None
    ) -> AsyncIterator[AsyncIterator[Message]]:
        listener = _Listener(subject, queue)
        self._listeners.append(listener)
        signals = listener.signals()
        try:
            yield signals
        finally:
            await signals.aclose()
            self._listeners.remove(listener)

    @asynccontextmanager
    async def follow(
        self, stream: str, subject: str, *, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[Stored]]:
        log = self._log(stream)
        messages = log.read(subject, after=log.last if after is None else after)
        try:
            yield messages
        finally:
            await messages.aclose()

    def stored(self, stream: str, subject: str = ">") -> list[Stored]:
        """What a stream holds now."""
        return [entry for entry in self._log(stream).entries if _matches(subject, entry.subject)]

    def remove(self, stream: str, sequence: int) -> None:
        """Take a message away, as a consumer of a work queue does by acknowledging it."""
        self._log(stream).remove(sequence)

    def _log(self, stream: str) -> _Log:
        try:
            return self._logs[stream]
        except KeyError:
            raise BrokerUnavailable(f"there is no stream {stream}") from None


class _Log:
    """One stream: what it holds, and which ids it has seen when."""

    def __init__(self, stream: Stream) -> None:
        self.entries: list[Stored] = []
        self.last = 0
        self._stream = stream
        self._held: Counter[str] = Counter()
        self._ids: dict[str, float] = {}
        self._grown = asyncio.Event()

    def append(self, messages: Sequence[Message]) -> None:
        """Store all messages or none."""
        fresh = self._fresh(messages)
        limit = self._stream.max_msgs
        if limit and self._stream.discard == "new" and len(self.entries) + len(fresh) > limit:
            raise StreamFull(f"{self._stream.name} is full: it holds up to {limit} messages")
        now = clock.monotonic()
        for message in fresh:
            self.last += 1
            self.entries.append(Stored(message.subject, message.data, message.headers, self.last))
            self._held[message.subject] += 1
            if message.id is not None:
                self._ids[message.id] = now
            self._trim(message.subject)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def remove(self, sequence: int) -> None:
        for entry in self.entries:
            if entry.sequence == sequence:
                self._held[entry.subject] -= 1
                self.entries.remove(entry)
                return

    async def read(self, subject: str, *, after: int) -> AsyncGenerator[Stored, None]:
        while True:
            grown = self._grown
            for entry in [entry for entry in self.entries if entry.sequence > after]:
                after = entry.sequence
                if _matches(subject, entry.subject):
                    yield entry
            await grown.wait()

    def _fresh(self, messages: Sequence[Message]) -> list[Message]:
        """Those whose id is new within the stream's window and whose job is not queued yet."""
        horizon = clock.monotonic() - self._stream.duplicate_window
        ids = {id_ for id_, seen in self._ids.items() if seen > horizon}
        queued = {subject for subject, count in self._held.items() if count}
        fresh = []
        for message in messages:
            if message.id in ids:
                continue
            if self._stream.discards_new_per_subject and message.subject in queued:
                continue
            if message.id is not None:
                ids.add(message.id)
            queued.add(message.subject)
            fresh.append(message)
        return fresh

    def _trim(self, subject: str) -> None:
        """Keep to the limits that drop the oldest."""
        stream = self._stream
        if stream.max_msgs_per_subject and self._held[subject] > stream.max_msgs_per_subject:
            self.remove(next(one.sequence for one in self.entries if one.subject == subject))
        if stream.max_msgs and len(self.entries) > stream.max_msgs:
            self.remove(self.entries[0].sequence)


class _Listener:
    """One subscription; signals that it cannot take in time are dropped."""

    def __init__(self, subject: str, queue: str | None) -> None:
        self.subject = subject
        self.queue = queue
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(_LISTEN_MESSAGES)

    def offer(self, message: Message) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait(message)

    async def signals(self) -> AsyncGenerator[Message, None]:
        while True:
            yield await self._waiting.get()


def _matches(pattern: str, subject: str) -> bool:
    """NATS wildcards: `*` is one token, `>` at the end is one or more."""
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        return len(given) > len(wanted) and _same(wanted, given)
    return len(given) == len(wanted) and _same(wanted, given)


def _same(wanted: Sequence[str], given: Sequence[str]) -> bool:
    return all(token in ("*", found) for token, found in zip(wanted, given, strict=False))
