"""The bus inside one process, for tests and the simulation. Nothing survives; ages do not count."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from events import streams
from events.bus import Message, Stored, StreamFull, addressed
from events.streams import Stream
from zeitwork import clock
from zeitwork.errors import NotFound

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
        log = self._log(stream)
        log.entries = [entry for entry in log.entries if entry.sequence != sequence]

    def _log(self, stream: str) -> _Log:
        try:
            return self._logs[stream]
        except KeyError:
            raise NotFound(f"there is no stream {stream}") from None


@dataclass(slots=True)
class _Log:
    """One stream: what it holds, and which ids it has seen when."""

    stream: Stream
    entries: list[Stored] = field(default_factory=list)
    last: int = 0
    ids: dict[str, float] = field(default_factory=dict)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def append(self, messages: Sequence[Message]) -> None:
        """Store all messages or none."""
        now = clock.monotonic()
        before = _Log(self.stream, list(self.entries), self.last, dict(self.ids))
        try:
            for message in messages:
                self._append(message, now)
        except StreamFull:
            self.entries, self.last, self.ids = before.entries, before.last, before.ids
            raise
        grown, self.grown = self.grown, asyncio.Event()
        grown.set()

    async def read(self, subject: str, *, after: int) -> AsyncGenerator[Stored, None]:
        while True:
            grown = self.grown
            for entry in [entry for entry in self.entries if entry.sequence > after]:
                after = entry.sequence
                if _matches(subject, entry.subject):
                    yield entry
            await grown.wait()

    def _append(self, message: Message, now: float) -> None:
        if self._known(message, now) or self._queued(message):
            return
        limit = self.stream.max_msgs
        if limit and len(self.entries) >= limit:
            if self.stream.discard == "new":
                raise StreamFull(f"{self.stream.name} is full: {limit} messages")
            del self.entries[0]
        self.last += 1
        self.entries.append(
            Stored(message.subject, message.data, _with_id(message), sequence=self.last)
        )
        if message.id is not None:
            self.ids[message.id] = now
        self._trim(message.subject)

    def _known(self, message: Message, now: float) -> bool:
        """True for an id that came before, within the stream's window."""
        seen = self.ids.get(message.id) if message.id is not None else None
        return seen is not None and now - seen < self.stream.duplicate_window

    def _queued(self, message: Message) -> bool:
        return self.stream.discards_new_per_subject and any(
            entry.subject == message.subject for entry in self.entries
        )

    def _trim(self, subject: str) -> None:
        """Keep to the limit per subject by dropping its oldest message."""
        limit = self.stream.max_msgs_per_subject
        held = [entry for entry in self.entries if entry.subject == subject]
        if limit and len(held) > limit:
            self.entries.remove(held[0])


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


def _with_id(message: Message) -> Mapping[str, str]:
    return {**message.headers, **({"Nats-Msg-Id": message.id} if message.id is not None else {})}


def _matches(pattern: str, subject: str) -> bool:
    """NATS wildcards: `*` is one token, `>` at the end is one or more."""
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        return len(given) > len(wanted) and _same(wanted, given)
    return len(given) == len(wanted) and _same(wanted, given)


def _same(wanted: Sequence[str], given: Sequence[str]) -> bool:
    return all(token in ("*", found) for token, found in zip(wanted, given, strict=False))
