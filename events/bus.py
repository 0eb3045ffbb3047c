"""The bus: what the rest of the program may ask of a broker. NATS and in-memory drivers share it.

Durable consumption is bound in `consumers/app.py`; this protocol covers publishing, core
signals, and following a stream from a point.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from events.envelope import Envelope


@dataclass(frozen=True, slots=True)
class Message:
    """Something to publish; `id` makes a second publish of the same message a no-op."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None

    @classmethod
    def of(cls, envelope: Envelope, subject: str) -> Message:
        return cls(subject, envelope.data.encode(), envelope.headers(), envelope.id)


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a stream holds it; `sequence` is its place, without gaps per stream only."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    sequence: int


class Bus(Protocol):
    """A broker with persistent streams and fire-and-forget signals."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Store messages in order, all or none; return when the broker has them on disk.

        Raises:
            BrokerUnavailable: the outcome is unknown; publishing again with the same ids is safe.
            StreamFull: the stream refuses more; nothing was stored.
        """

    async def signal(self, subject: str, data: bytes = b"") -> None:
        """Tell whoever listens now; nothing is stored, nobody may have heard it."""

    def listen(
        self, subject: str, *, queue: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Signals on a subject; with `queue`, each goes to one listener of that name.

        Entering the context subscribes, so nothing sent afterwards is missed.
        """

    def follow(
        self, stream: str, subject: str, *, after: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Stored]]:
        """Messages of a stream in order: those behind sequence `after`, or new ones (None).

        Entering the context opens the consumer, so nothing stored afterwards is missed.
        """

    async def ready(self) -> str | None:
        """None when connected, else the reason why not."""
