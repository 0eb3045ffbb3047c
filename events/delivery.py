"""One hand-out of a message by a durable: what it says, and the ways to answer it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Delivery(Protocol):
    """A message that waits for an answer; unanswered it comes again after its `ack_wait`.

    Attributes:
        sequence: the message's place in its stream.
        deliveries: how often the durable has handed it out, this time included.
    """

    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def stream(self) -> str: ...
    @property
    def durable(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def deliveries(self) -> int: ...

    async def ack(self) -> None:
        """It has had its effect; each of the four raises BrokerUnavailable without a connection."""

    async def nak(self, seconds: float = 0) -> None:
        """Hand it out again, not before `seconds` have passed."""

    async def term(self) -> None:
        """Never hand it out again."""

    async def in_progress(self) -> None:
        """Still at it: `ack_wait` starts anew."""
