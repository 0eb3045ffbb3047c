"""A delivery by NATS JetStream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import nats.errors
from nats.aio.msg import Msg

from zeitwork.errors import BrokerUnavailable


class NatsDelivery:
    """The adapter from nats-py's message; a second answer is ignored, as the server does."""

    def __init__(self, message: Msg) -> None:
        self._message = message
        metadata = message.metadata
        self.subject: str = message.subject
        self.data: bytes = message.data
        self.headers: Mapping[str, str] = message.headers or {}
        self.stream: str = metadata.stream
        self.durable: str = metadata.consumer
        self.sequence: int = metadata.sequence.stream
        self.deliveries: int = metadata.num_delivered

    async def ack(self) -> None:
        with _translated():
            await self._message.ack()

    async def nak(self, seconds: float = 0) -> None:
        with _translated():
            await self._message.nak(delay=seconds or None)

    async def term(self) -> None:
        with _translated():
            await self._message.term()

    async def in_progress(self) -> None:
        with _translated():
            await self._message.in_progress()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except nats.errors.MsgAlreadyAckdError:
        return
    except nats.errors.Error as error:
        reason = str(error) or type(error).__name__
        raise BrokerUnavailable(f"NATS does not take the answer: {reason}") from error
