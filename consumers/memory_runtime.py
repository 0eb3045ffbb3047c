"""The consumers' runtime on the in-memory bus: same bindings, same settling, no server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from consumers.binding import Bound
from consumers.middleware import Settler
from events.delivery import Delivery
from events.memory import MemoryBus
from zeitwork.service import cancel, spawn

_SETTLE_SECONDS = 2.0


class MemoryRuntime:
    """Pulls from every bound durable of a MemoryBus; a Service."""

    name = "consumers"

    def __init__(
        self, bus: MemoryBus, bindings: Sequence[Bound], *, graceful_seconds: float = 15.0
    ) -> None:
        self._bus = bus
        self._bindings = bindings
        self._graceful_seconds = graceful_seconds
        durables = [binding.durable for binding in bindings]
        self._settler = Settler(durables, bus=bus, ledger=_Ledger(bus))
        self._pullers: list[asyncio.Task[Any]] = []
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        if self._pullers:
            return
        self._stopping = asyncio.Event()
        for binding in self._bindings:
            for number in range(binding.concurrency):
                name = f"pull-{binding.durable.name}-{number}"
                self._pullers.append(spawn(self._pull(binding), name))

    async def ready(self) -> str | None:
        return None if self._pullers else "not started"

    async def stop(self) -> None:
        """Let running handlers finish; after `graceful_seconds` their messages are handed back."""
        pullers, self._pullers = self._pullers, []
        self._stopping.set()
        if pullers:
            await asyncio.wait(pullers, timeout=self._graceful_seconds)
            self._settler.interrupt()
            await asyncio.wait(pullers, timeout=_SETTLE_SECONDS)
        await cancel(*pullers)

    async def _pull(self, binding: Bound) -> None:
        durable = self._bus.durable(binding.durable)
        most = 1 if binding.together is None else binding.together.most
        while not self._stopping.is_set():
            pulling = spawn(durable.pull_several(most), f"next-{binding.durable.name}")
            stopping = spawn(self._stopping.wait(), "stop-pulling")
            try:
                await asyncio.wait({pulling, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not pulling.done():
                    return
                await self._settler.settle_several(pulling.result(), binding)
            finally:
                await cancel(pulling, stopping)


class _Ledger:
    """See `consumers.middleware.Ledger`."""

    def __init__(self, bus: MemoryBus) -> None:
        self._counts = bus.deferrals

    async def count(self, delivery: Delivery) -> int:
        return self._counts[delivery.durable, delivery.sequence]

    async def add(self, delivery: Delivery) -> None:
        self._counts[delivery.durable, delivery.sequence] += 1
