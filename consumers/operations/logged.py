"""An event of the log, as a durable would hand it out; answers to it mean nothing."""

from __future__ import annotations

from collections.abc import Mapping

from db.models import EventLog
from events.streams import Durable


class LoggedDelivery:
    """See `events.delivery.Delivery`; `sequence` is the event's place in the log."""

    def __init__(self, row: EventLog, durable: Durable) -> None:
        self.subject: str = row.subject
        self.data: bytes = row.payload
        self.headers: Mapping[str, str] = row.headers
        self.stream: str = durable.stream
        self.durable: str = durable.name
        self.sequence: int = row.id
        self.deliveries: int = 1

    async def ack(self) -> None:
        """Nobody waits for it."""

    async def nak(self, seconds: float = 0) -> None:
        """Nobody waits for it."""

    async def term(self) -> None:
        """Nobody waits for it."""

    async def in_progress(self) -> None:
        """Nobody waits for it."""
