"""What a durable's messages are handed to: handlers by event type, or one for the raw message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from consumers.outcomes import Drop, Outcome
from events.delivery import Delivery
from events.envelope import Envelope, unwrap
from events.event import Event
from events.streams import Durable

Handler: TypeAlias = Callable[[Envelope], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of messages that were taken together.

    Attributes:
        outcomes: of those that were handled.
        alone: those that are to be handled each by itself, in this order; nothing of them has
            happened.
    """

    outcomes: Sequence[tuple[Delivery, Outcome]]
    alone: Sequence[Delivery]


class Together(Protocol):
    """Handles several messages of a durable at once; see `consumers.together`."""

    @property
    def most(self) -> int:
        """How many messages at once."""

    async def __call__(self, deliveries: Sequence[Delivery]) -> Taken:
        """Handle what can be handled together; that something fails is no error."""


class Bound(Protocol):
    """A durable and what happens with its messages.

    Attributes:
        concurrency: how many messages one process handles at once; of several that are taken
            together, how many times several.
        together: how to take several at once, where that is possible.
    """

    @property
    def durable(self) -> Durable: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def together(self) -> Together | None: ...

    async def handle(self, delivery: Delivery) -> Outcome:
        """Do the work of one message; an exception is a failed attempt."""


@dataclass(frozen=True)
class Binding:
    """Handlers by event type; a type that the durable delivers and nobody handles is dropped."""

    durable: Durable
    handlers: Mapping[type[Event], Handler]
    concurrency: int = 4
    together: Together | None = None

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
    together: None = None

    async def handle(self, delivery: Delivery) -> Outcome:
        return await self.handler(delivery)
