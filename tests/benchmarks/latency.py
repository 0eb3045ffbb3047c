"""From commit to the handler's first line, at a steady rate, through every part of the backbone."""

from __future__ import annotations

import asyncio

from consumers.together import MOST
from events.streams import Durable
from events.topology import provision
from tests.benchmarks import facts, figures
from tests.benchmarks.figures import Spread
from tests.benchmarks.stage import Stage, script
from zeitwork import ids

_RATE = 100.0
_READY_SECONDS = 30.0


async def measure(stage: Stage, *, seconds: float) -> None:
    """Print the times of ours beside those of a bare publish to plain FastStream."""
    figures.heading(f"4. Commit → handler at {_RATE:.0f} events/s over {seconds:.0f} s")
    for kind, label in (
        ("ours", "commit, wake, relay, JetStream, runtime, handler"),
        ("faststream", "peer: JetStream publish to plain FastStream"),
    ):
        begun, accepted = await _times(stage, kind, seconds=seconds)
        figures.line(f"{label}:", "")
        figures.line("  from the accepted commit or publish", str(Spread.of(accepted)))
        figures.line("  from when it was due, the write included", str(Spread.of(begun)))
    figures.line("goal", "p50 < 8 ms, p99 < 30 ms from the commit")


async def _settled(stage: Stage, durable: Durable) -> None:
    async with facts.connected(stage.nats_url) as bus, asyncio.timeout(_READY_SECONDS):
        while await facts.pending(bus, durable.stream, durable.name):
            await asyncio.sleep(0.1)


async def _times(stage: Stage, kind: str, *, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds until the handler, from when each event was due and from when it was stored."""
    project = ids.new(ids.Prefix.PROJECT)
    durable = facts.durable(f"bench-latency-{kind}", project)
    async with facts.connected(stage.nats_url) as bus:
        await provision(bus.jetstream, durables=[durable])
    shared = {
        "kind": kind,
        "nats": stage.nats_url,
        "database": stage.database_url,
        "project": project,
    }
    batch = MOST if kind == "ours" else 1
    async with script("replica", durable=durable.name, batch=batch, **shared) as replica:
        await replica.says(within=_READY_SECONDS)
        async with script("speaker", rate=_RATE, seconds=seconds, **shared) as speaker:
            said = await speaker.says(within=seconds + _READY_SECONDS)
        await _settled(stage, durable)
        replica.ask_to_stop()
        entries = await replica.says(within=_READY_SECONDS)
    handled = said.keys() & entries.keys()
    if missing := len(said) - len(handled):
        figures.line("not handled when the measurement ended", str(missing))
    begun = [(entries[build] - said[build][0]) * 1000 for build in handled]
    accepted = [(entries[build] - said[build][1]) * 1000 for build in handled]
    return begun, accepted
