"""Accepted and durable webhooks: the API process against a bare aiohttp handler."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from tests.benchmarks import figures
from tests.benchmarks.figures import Spread
from tests.benchmarks.stage import SECRET, Stage, script
from tests.support.servers import free_port

PATH = "/api/v1/webhooks/github"
_CONNECTIONS = (16, 64)
_ROUNDS = 2  # ours and the peer's by turns, so that other load on the machine meets both
_ARRIVALS = 300.0
_ACCEPTED = "202"


@dataclass
class Answers:
    """What one server answered in all rounds."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        return self.statuses[_ACCEPTED]

    @property
    def rate(self) -> float:
        return self.accepted / self.seconds if self.seconds else 0.0

    def print(self, label: str) -> None:
        refused = {status: count for status, count in self.statuses.items() if status != _ACCEPTED}
        figures.line(
            label,
            f"{self.rate:.0f}/s, {Spread.of(self.milliseconds)}",
            f"not accepted: {refused}" if refused else "",
        )


@dataclass(frozen=True)
class Target:
    """A server that takes webhooks."""

    port: int
    path: str

    async def load(
        self,
        into: Answers,
        *,
        connections: int,
        seconds: float,
        rate: float = 0.0,
        most: int = 1_000_000,
    ) -> None:
        """Send for `seconds`, `most` requests at most; as fast as they are answered or at `rate`.

        The client's word on what was answered is added to `into`.
        """
        async with script(
            "webhook_load",
            port=self.port,
            path=self.path,
            secret=SECRET,
            connections=connections,
            seconds=seconds,
            rate=rate,
            most=most,
        ) as client:
            found = await client.says(within=seconds + 60)
        into.seconds += found["seconds"]
        into.statuses.update(found["statuses"])
        into.milliseconds += found["milliseconds"]


async def measure(stage: Stage, *, seconds: float) -> None:
    """Print accepted webhooks a second and their times, ours beside the bare handler's."""
    figures.heading("1. Webhooks accepted and durable (8 KiB bodies, keep-alive)")
    async with AsyncExitStack() as stack:
        _, api_port = await stack.enter_async_context(stage.api())
        bare_port = free_port()
        bare = await stack.enter_async_context(
            script("bare_intake", port=bare_port, database=stage.database_url, secret=SECRET)
        )
        await bare.says(within=30)
        targets = (Target(api_port, PATH), Target(bare_port, "/"))
        for target in targets:
            await target.load(Answers(), connections=16, seconds=2)  # fills caches
        for connections in _CONNECTIONS:
            ours, peer = await _by_turns(targets, connections=connections, seconds=seconds)
            ours.print(f"zeitwork serve api, {connections} connections")
            peer.print(f"bare aiohttp + one INSERT, {connections} connections")
            figures.ratio("ratio", ours.rate, peer.rate, "≥ 60 %")
        ours, peer = await _by_turns(targets, connections=64, seconds=seconds, rate=_ARRIVALS)
        ours.print(f"zeitwork serve api, {_ARRIVALS:.0f}/s arrive")
        peer.print(f"bare aiohttp + one INSERT, {_ARRIVALS:.0f}/s arrive")
        figures.line("goal", "p99 < 50 ms at 300/s")


async def _by_turns(
    targets: tuple[Target, Target], *, connections: int, seconds: float, rate: float = 0.0
) -> tuple[Answers, Answers]:
    ours, peer = Answers(), Answers()
    for _ in range(_ROUNDS):
        for target, into in zip(targets, (ours, peer), strict=True):
            await target.load(into, connections=connections, seconds=seconds, rate=rate)
    return ours, peer
