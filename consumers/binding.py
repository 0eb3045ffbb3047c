"""What a durable's messages are handed to: handlers by event type, or one for the raw message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from consumers.outcomes import Drop, Outcome
from events.delivery import Delivery
from events.envelope import Envelope, unwrap
from events.event import Event
from events.streams import Durable

Handler: TypeAlias = Callable[[Envelope], Awaitable[Outcome]]


class Bound(Protocol):
    """A durable and what happens with its messages.

    Attributes:
        concurrency: how many messages one process handles at once.
    """

    @property
    def durable(self) -> Durable: ...
    @property
    def concurrency(self) -> int: ...

    async def handle(self, delivery: Delivery) -> Outcome:
        """Do the work of one message; an exception is a failed attempt."""


@dataclass(frozen=True)
class Binding:
    """Handlers by event type; a type that the durable delivers and nobody handles is dropped."""

    durable: Durable
    handlers: Mapping[type[Event], Handler]
    concurrency: int = 4

    async def handle(self, delivery: Delivery) -> Outcome:
        """Decode and dispatch.

        Raises:
            UnknownEvent, NewerEvent, UndecodableEvent: see `events.event.decode`.
        """
        envelope = unwrap(delivery.headers, delivery.data)
        handler = self.handlers.get(type(envelope.data))
        if handler is None:
            return Drop(f"nobody here handles {envelope.type}")
        return await handler(envelope)


@dataclass(frozen=True)
class RawBinding:
    """A handler of messages that need not be events."""

    durable: Durable
    handler: Callable[[Delivery], Awaitable[Outcome]]
    concurrency: int = 1

    async def handle(self, delivery: Delivery) -> Outcome:
        return await self.handler(delivery)
