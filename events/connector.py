"""Connects a bus in the background: for a process that does its work without a broker, too."""

from __future__ import annotations

from typing_extensions import override

from events.nats_bus import NatsBus
from zeitwork import clock, logs
from zeitwork.errors import BrokerUnavailable
from zeitwork.service import Worker

_log = logs.get(__name__)
_RETRY_SECONDS = 1.0


class Connector(Worker):
    """Starts the bus however long NATS is away, and stops it; unready without a connection."""

    name = "bus"

    def __init__(self, bus: NatsBus) -> None:
        super().__init__()
        self._bus = bus
        self._reached = False

    @override
    async def ready(self) -> str | None:
        bus = await self._bus.ready() if self._reached else "NATS was not reached yet"
        return await super().ready() or bus

    @override
    async def run(self) -> None:
        while not self._reached:
            try:
                await self._bus.start()
            except BrokerUnavailable as error:
                _log.warning("no broker yet", detail=error.message)
                await clock.sleep(clock.jitter(_RETRY_SECONDS))
            else:
                self._reached = True
                _log.info("broker reached")

    @override
    async def stop(self) -> None:
        await super().stop()
        self._reached = False
        await self._bus.stop()
