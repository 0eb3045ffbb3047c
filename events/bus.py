"""The bus: what the rest of the program may ask of a broker. NATS and in-memory drivers share it.

Durable consumption is bound in `consumers/app.py`; this protocol covers publishing, core
signals, and following a stream from a point.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from events import streams
from events.envelope import Envelope
from zeitwork.errors import BodyTooLarge, InvalidInput, Unavailable

_RESERVED_BYTES = 256  # of each message, for headers that a driver adds


class StreamFull(Unavailable):
    """A stream is at its limit; there is room again when its consumers have caught up."""

    code = "stream_full"


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
        """Store messages in order; return when the broker has them on disk.

        Neighbours that go to the same stream are stored all or none (runs of up to 1000). A message
        whose id was stored before changes nothing, nor does a job that is still queued.

        Raises:
            BodyTooLarge: a message exceeds the limit of its stream; nothing was stored.
            BrokerUnavailable: the outcome is unknown; publishing again with the same ids is safe.
            StreamFull: the stream refuses more; publishing again later is safe.
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

    def contents(self, stream: str, subject: str) -> AsyncGenerator[Stored, None]:
        """What a stream holds on a subject at this moment, in order, without bodies.

        Raises:
            BrokerUnavailable: the broker does not answer, or there is no such stream.
        """

    async def holds(self, stream: str, subject: str) -> bool:
        """True when a stream holds a message on exactly this subject.

        Raises:
            BrokerUnavailable: the broker does not answer, or there is no such stream.
        """

    async def ready(self) -> str | None:
        """None when connected, else the reason why not."""


def addressed(message: Message) -> tuple[streams.Stream, Message]:
    """The stream that takes a message, and the message as it may travel.

    Headers that steer a broker (`Nats-…`) are dropped: those of a received message say what was
    done with it, and would be done again.

    Raises:
        BodyTooLarge: the stream does not take messages of this size.
        InvalidInput: no stream takes the subject.
    """
    try:
        stream = streams.holding(message.subject)
    except LookupError as error:
        raise InvalidInput(f"{error}; add one to events/streams.py") from error
    headers = {
        name: value
        for name, value in message.headers.items()
        if not name.lower().startswith("nats-")
    }
    size = len(message.data) + sum(len(name) + len(value) + 4 for name, value in headers.items())
    if size + _RESERVED_BYTES > stream.max_msg_size:
        raise BodyTooLarge(f"a message of {size} bytes is more than {stream.name} takes")
    return stream, replace(message, headers=headers)
