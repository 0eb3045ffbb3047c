"""Counts how often each message was put off, for all replicas.

NATS counts deliveries only. A message that waited five times and failed once has six of them; this
ledger tells how many were no attempts. Adding is atomic on the server (a counter stream), so two
deliveries of one message cannot lose a count.
"""

from __future__ import annotations

import json

import nats.errors
import nats.js.errors

from events import streams
from events.cancellation import heeded
from events.delivery import Delivery
from events.nats_bus import TIMEOUT_SECONDS, NatsBus
from zeitwork.errors import BrokerUnavailable


class Deferrals:
    """One number for each durable and sequence, in ZW_DEFERRALS."""

    def __init__(self, bus: NatsBus) -> None:
        self._bus = bus

    async def count(self, delivery: Delivery) -> int:
        """How often the message was put off.

        Raises:
            BrokerUnavailable: the ledger does not answer.
        """
        if delivery.deliveries == 1:
            return 0
        try:
            with heeded():
                entry = await self._bus.jetstream.get_last_msg(
                    streams.DEFERRALS.name, _subject(delivery)
                )
        except nats.js.errors.NotFoundError:
            return 0
        except nats.errors.Error as error:
            raise BrokerUnavailable("the ledger of deferrals does not answer") from error
        return int(json.loads(entry.data or b"{}")["val"])

    async def add(self, delivery: Delivery) -> None:
        """Note that the message is put off once more.

        Raises:
            BrokerUnavailable: the ledger does not answer.
        """
        try:
            with heeded():
                await self._bus.client.request(
                    _subject(delivery), timeout=TIMEOUT_SECONDS, headers={"Nats-Incr": "1"}
                )
        except nats.errors.Error as error:
            raise BrokerUnavailable("the ledger of deferrals does not answer") from error


def _subject(delivery: Delivery) -> str:
    return streams.deferral(delivery.durable, delivery.sequence)
