"""A background loop: every monitoring and reconciling loop of the product is one of these."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from typing_extensions import override

from zeitwork import clock, logs, metrics
from zeitwork.service import Worker

_log = logs.get(__name__)


class Loop(Worker):
    """Calls `round_` every `interval` seconds (± 10 %), each call bounded by `timeout` seconds.

    A failing round is logged and counted; the next one comes as usual. `wake()` runs the next
    round at once; wakes during a round are folded into one.
    """

    def __init__(
        self,
        name: str,
        round_: Callable[[], Awaitable[None]],
        *,
        interval: float,
        timeout: float = 30.0,
    ) -> None:
        super().__init__()
        self.name = name
        self._round = round_
        self._interval = interval
        self._timeout = timeout
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    @override
    async def run(self) -> None:
        while True:
            self._wake.clear()
            try:
                async with asyncio.timeout(self._timeout):
                    await self._round()
                metrics.LOOP_ROUNDS.labels(self.name, "ok").inc()
            except Exception:
                _log.exception("loop round failed", loop=self.name)
                metrics.LOOP_ROUNDS.labels(self.name, "failed").inc()
            await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(clock.jitter(self._interval)):
                await self._wake.wait()
        except TimeoutError:
            return
