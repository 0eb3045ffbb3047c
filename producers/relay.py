"""Moves events from the outbox to JetStream, in order, by one process at a time for each stream.

A crash between publish and commit publishes again; the message id and the inbox absorb it. See
docs/decisions/0004-the-relay-has-a-lane-for-each-stream.md.
"""

from __future__ import annotations

import asyncio

from typing_extensions import override

from db.session import UnitOfWork
from events import streams, subjects
from events.bus import Bus
from producers.lane import Lane
from zeitwork import clock, logs
from zeitwork.errors import ZeitworkError
from zeitwork.service import Worker

_log = logs.get(__name__)
_PAUSE_SECONDS = 1.0


class Relay(Worker):
    """A lane for each stream, so that one that refuses does not hold up the others.

    Woken by `zw.wake.outbox` after each commit; the lanes poll besides.
    """

    name = "relay"

    def __init__(self, bus: Bus, work: UnitOfWork) -> None:
        super().__init__()
        self._bus = bus
        self._lanes = [Lane(stream.name, bus=bus, work=work) for stream in streams.EMITTED]

    @override
    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run(), name=f"relay-{lane.stream}")
            group.create_task(self._listen(), name="relay-wake")

    async def _listen(self) -> None:
        while True:
            try:
                async with self._bus.listen(subjects.WAKE_OUTBOX) as signals:
                    async for _ in signals:
                        for lane in self._lanes:
                            lane.wake()
            except ZeitworkError as error:
                _log.debug("relay cannot be woken", code=error.code)  # it polls meanwhile
            await clock.sleep(clock.jitter(_PAUSE_SECONDS))
