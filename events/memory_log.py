"""One stream in memory: what it holds, which ids it has seen, and its limits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from events.bus import Message, Stored, StreamFull
from events.queues import StreamReading
from events.streams import Stream
from zeitwork import clock


class Log:
    """Messages in order; `changed` is set and replaced whenever one comes."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.entries: list[Stored] = []
        self.last = 0
        self.changed = asyncio.Event()
        self._stored_at: dict[int, datetime] = {}
        self._held: Counter[str] = Counter()
        self._ids: dict[str, float] = {}

    def append(self, messages: Sequence[Message]) -> None:
        """Store all messages or none.

        Raises:
            StreamFull: there is no room for all of them.
        """
        fresh = self._fresh(messages)
        limit = self.stream.max_msgs
        if limit and self.stream.discard == "new" and len(self.entries) + len(fresh) > limit:
            raise StreamFull(f"{self.stream.name} is full: it holds up to {limit} messages")
        now = clock.monotonic()
        for message in fresh:
            self.last += 1
            self.entries.append(Stored(message.subject, message.data, message.headers, self.last))
            self._stored_at[self.last] = clock.now()
            self._held[message.subject] += 1
            if message.id is not None:
                self._ids[message.id] = now
            self._trim(message.subject)
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def remove(self, sequence: int) -> None:
        for entry in self.entries:
            if entry.sequence == sequence:
                self._held[entry.subject] -= 1
                self.entries.remove(entry)
                del self._stored_at[sequence]
                return

    def stored_at(self, sequence: int) -> datetime:
        return self._stored_at[sequence]

    def reading(self) -> StreamReading:
        stream = self.stream
        return StreamReading(
            name=stream.name,
            description=stream.description,
            messages=len(self.entries),
            bytes=sum(len(entry.data) for entry in self.entries),
            max_messages=stream.max_msgs or None,
            max_bytes=stream.max_bytes or None,
            max_age_seconds=stream.max_age or None,
            first_sequence=self.entries[0].sequence if self.entries else self.last + 1,
            last_sequence=self.last,
        )

    async def read(self, subject: str, *, after: int) -> AsyncGenerator[Stored, None]:
        """What matches `subject` behind sequence `after`, without end."""
        while True:
            changed = self.changed
            for entry in [entry for entry in self.entries if entry.sequence > after]:
                after = entry.sequence
                if matches(subject, entry.subject):
                    yield entry
            await changed.wait()

    def _fresh(self, messages: Sequence[Message]) -> list[Message]:
        """Those whose id is new within the stream's window and whose job is not queued yet."""
        horizon = clock.monotonic() - self.stream.duplicate_window
        ids = {id_ for id_, seen in self._ids.items() if seen > horizon}
        queued = {subject for subject, count in self._held.items() if count}
        fresh = []
        for message in messages:
            if message.id in ids:
                continue
            if self.stream.discards_new_per_subject and message.subject in queued:
                continue
            if message.id is not None:
                ids.add(message.id)
            queued.add(message.subject)
            fresh.append(message)
        return fresh

    def _trim(self, subject: str) -> None:
        """Keep to the limits that drop the oldest."""
        stream = self.stream
        if stream.max_msgs_per_subject and self._held[subject] > stream.max_msgs_per_subject:
            self.remove(next(one.sequence for one in self.entries if one.subject == subject))
        if stream.max_msgs and len(self.entries) > stream.max_msgs:
            self.remove(self.entries[0].sequence)


def matches(pattern: str, subject: str) -> bool:
    """NATS wildcards: `*` is one token, `>` at the end is one or more."""
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        return len(given) > len(wanted) and _same(wanted, given)
    return len(given) == len(wanted) and _same(wanted, given)


def _same(wanted: Sequence[str], given: Sequence[str]) -> bool:
    return all(token in ("*", found) for token, found in zip(wanted, given, strict=False))
