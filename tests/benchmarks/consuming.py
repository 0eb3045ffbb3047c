"""What a consumer takes from a stream: ours against plain FastStream, and by replica count."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from typing_extensions import override

from consumers.together import MOST
from events.nats_bus import NatsBus
from events.streams import EVENTS, Durable
from events.topology import provision
from tests.benchmarks import facts, figures
from tests.benchmarks.stage import Script, Stage, script
from zeitwork import ids

_FAR = "2100-01-01T00:00:00Z"
_READY_SECONDS = 30.0
_DRAIN_SECONDS = 300.0
_POLL_SECONDS = 0.1
_REPLICAS = (1, 2, 3)
_PEERS = ((4, 1), (1, 10), (1, 50), (1, 200))  # FastStream's pullers and batch sizes
_OURS = ((4, MOST), (4, 1), (16, 1))  # pullers and messages of a transaction; as shipped first


@dataclass(frozen=True, slots=True)
class Drained:
    """How a backlog was worked off; `doubled` counts events that took effect twice."""

    seconds: float
    handled: int
    doubled: int

    @property
    def rate(self) -> float:
        return self.handled / self.seconds if self.seconds else 0.0

    @override
    def __str__(self) -> str:
        return f"{self.rate:.0f}/s"

    @property
    def note(self) -> str:
        return f"{self.handled} handled, {self.doubled} twice, {self.seconds:.1f} s"


class Backlog:
    """Events of one project in ZW_EVENTS; each durable made for them starts at the first."""

    def __init__(self, stage: Stage, bus: NatsBus) -> None:
        self.project = ids.new(ids.Prefix.PROJECT)
        self._stage = stage
        self._bus = bus
        self._durables = 0

    async def fill(self, count: int) -> None:
        await facts.fill(self._bus, self.project, count)

    async def drain(
        self, kind: str, *, replicas: int = 1, pullers: int = 4, batch: int = 1
    ) -> Drained:
        """Let `replicas` processes, all ready beforehand, work it off from the start."""
        self._durables += 1
        durable = facts.durable(f"bench-{self._durables}", self.project)
        js = self._bus.jetstream
        await provision(js, durables=[durable])
        await js.pause_consumer(EVENTS.name, durable.name, _FAR)
        async with AsyncExitStack() as stack:
            consumers = [
                await stack.enter_async_context(
                    script(
                        "replica",
                        kind=kind,
                        nats=self._stage.nats_url,
                        database=self._stage.database_url,
                        durable=durable.name,
                        project=self.project,
                        pullers=pullers,
                        batch=batch,
                    )
                )
                for _ in range(replicas)
            ]
            for each in consumers:
                await each.says(within=_READY_SECONDS)
            began = time.monotonic()
            await js.resume_consumer(EVENTS.name, durable.name)
            await self._empty(durable)
            found = [await _ended(each) for each in consumers]
        await js.delete_consumer(EVENTS.name, durable.name)
        entries = [entry for each in found for entry in each.values()]
        once = len({build for each in found for build in each})
        last = max(entries, default=began)
        return Drained(last - began, once, len(entries) - once)

    async def _empty(self, durable: Durable) -> None:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await facts.pending(self._bus, EVENTS.name, durable.name):
                await asyncio.sleep(_POLL_SECONDS)


async def _ended(consumer: Script) -> dict[str, float]:
    consumer.ask_to_stop()
    entries: dict[str, float] = await consumer.says(within=_READY_SECONDS)
    return entries


async def measure(stage: Stage, *, events: int) -> None:
    """Print the rate of a no-op handler with Settle and inbox beside plain FastStream's."""
    figures.heading(f"3. Consuming {events} events, handlers that do nothing")
    async with facts.connected(stage.nats_url) as bus:
        backlog = Backlog(stage, bus)
        await backlog.fill(events)
        peers: dict[int, Drained] = {}
        for pullers, batch in _PEERS:
            peers[batch] = await backlog.drain("faststream", pullers=pullers, batch=batch)
            label = f"FastStream, ACK, {pullers} of PullSub(batch_size={batch})"
            figures.line(label, str(peers[batch]), peers[batch].note)
        best = max(peers, key=lambda batch: peers[batch].rate)
        for pullers, together in _OURS:
            ours = await backlog.drain("ours", pullers=pullers, batch=together)
            label = f"Settle + inbox, {pullers} pullers, {together} in a transaction"
            figures.line(label, str(ours), ours.note)
            figures.ratio("ratio to FastStream, batch 1", ours.rate, peers[1].rate, "≥ 50 %")
            label = f"ratio to FastStream, its best batch ({best})"
            figures.ratio(label, ours.rate, peers[best].rate, "≥ 50 %")


async def by_replicas(stage: Stage, *, events: int) -> None:
    """Print how long one, two and three replicas take for the same backlog."""
    figures.heading(
        f"5. A backlog of {events} events by replica count (4 pullers each, {MOST} together)"
    )
    async with facts.connected(stage.nats_url) as bus:
        backlog = Backlog(stage, bus)
        await backlog.fill(events)
        alone: Drained | None = None
        for replicas in _REPLICAS:
            drained = await backlog.drain("ours", replicas=replicas, batch=MOST)
            alone = alone or drained
            figures.line(f"replicas: {replicas}", str(drained), drained.note)
            figures.ratio("ratio to one replica", drained.rate, alone.rate, "none set")
