"""The bus inside one process, for tests and the simulation. Nothing survives; ages do not count."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from events import streams
from events.bus import Message, Stored, addressed
from events.memory_durable import MemoryDurable
from events.memory_log import Log, matches
from events.queues import Reading
from events.streams import DURABLES, STREAMS, Durable, Stream
from zeitwork import clock
from zeitwork.errors import BrokerUnavailable

_LISTEN_MESSAGES = 1024


class MemoryBus:
    """Streams as lists, signals as queues, durables as cursors."""

    name = "memory bus"

    def __init__(self) -> None:
        self._logs = {stream.name: Log(stream) for stream in streams.STREAMS}
        self._durables: dict[str, MemoryDurable] = {}
        # By durable and sequence; what ZW_DEFERRALS is on NATS, so every runtime counts alike.
        self.deferrals: Counter[tuple[str, int]] = Counter()
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
            stored = [message for _, message in run]
            self._logs[stream.name].append(stored)
            for message in stored:
                self._say(message)

    async def signal(self, subject: str, data: bytes = b"") -> None:
        self._say(Message(subject, data))

    def _say(self, message: Message) -> None:
        """Tell whoever listens; a stream and its listeners hear the same message."""
        groups: dict[str, list[_Listener]] = {}
        for listener in self._listeners:
            if matches(listener.subject, message.subject):
                if listener.queue is None:
                    listener.offer(message)
                else:
                    groups.setdefault(listener.queue, []).append(listener)
        for members in groups.values():
            members[next(self._turn) % len(members)].offer(message)

    async def queues(
        self, *, streams: Sequence[Stream] = STREAMS, durables: Sequence[Durable] = DURABLES
    ) -> Reading:
        return Reading(
            at=clock.now(),
            streams=tuple(self._log(stream.name).reading() for stream in streams),
            durables=tuple(self.durable(durable).reading() for durable in durables),
            missing=(),
        )

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

    async def fetch(self, stream: str, sequence: int) -> Stored | None:
        found = [entry for entry in self._log(stream).entries if entry.sequence == sequence]
        return found[0] if found else None

    async def remove(self, stream: str, sequence: int) -> None:
        log = self._log(stream)
        if log.stream.deny_delete:
            raise BrokerUnavailable(f"{stream} keeps its history")
        log.remove(sequence)

    async def contents(self, stream: str, subject: str) -> AsyncGenerator[Stored, None]:
        for entry in list(self._log(stream).entries):
            if matches(subject, entry.subject):
                yield replace(entry, data=b"")

    async def holds(self, stream: str, subject: str) -> bool:
        return any(entry.subject == subject for entry in self._log(stream).entries)

    def durable(self, durable: Durable) -> MemoryDurable:
        """The durable of that name, made on first use; everybody who asks shares it."""
        if durable.name not in self._durables:
            log = self._log(durable.stream)
            advisories = self._logs[streams.ADVISORIES.name]
            self._durables[durable.name] = MemoryDurable(
                durable, log, advise=lambda message: advisories.append([message])
            )
        return self._durables[durable.name]

    def stored(self, stream: str, subject: str = ">") -> list[Stored]:
        """What a stream holds now."""
        return [entry for entry in self._log(stream).entries if matches(subject, entry.subject)]

    def _log(self, stream: str) -> Log:
        try:
            return self._logs[stream]
        except KeyError:
            raise BrokerUnavailable(f"there is no stream {stream}") from None


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
