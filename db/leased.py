"""A background loop that runs in one process at a time, however many replicas there are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from typing_extensions import override

from db import leases
from db.session import UnitOfWork
from zeitwork import logs
from zeitwork.errors import ZeitworkError
from zeitwork.loops import Loop

_log = logs.get(__name__)


class LeasedLoop(Loop):
    """Runs its round only while it holds the lease of its name."""

    def __init__(
        self,
        name: str,
        round_: Callable[[], Awaitable[None]],
        *,
        work: UnitOfWork,
        holder: UUID,
        interval: float,
        timeout: float = 30.0,
        idle: Callable[[], None] | None = None,
    ) -> None:
        """`idle` is called in each round of a process that does not hold the lease."""
        super().__init__(f"loop-{name}", self._leased_round, interval=interval, timeout=timeout)
        self._inner = round_
        self._idle = idle
        self._work = work
        self._holder = holder
        self._seconds = 2 * interval + timeout  # outlives the longest round and the pause after it

    @override
    async def stop(self) -> None:
        await super().stop()
        try:
            await leases.release(self._work, self.name, holder=self._holder)
        except ZeitworkError as error:
            # It runs out by itself.
            _log.debug("lease not released", lease=self.name, code=error.code)

    async def _leased_round(self) -> None:
        token = await leases.take(self._work, self.name, holder=self._holder, seconds=self._seconds)
        if token is not None:
            await self._inner()
        elif self._idle is not None:
            self._idle()
