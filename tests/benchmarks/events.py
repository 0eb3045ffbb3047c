"""The event backbone's speed, each figure beside a peer that was measured in the same run.

`python -m tests.benchmarks.events [--only webhooks,relay,…] [--backlog 100000] [--memory 200000]`
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from tests.benchmarks import consuming, figures, latency, memory, outbox, webhooks
from tests.benchmarks.stage import Stage, stage
from zeitwork import logs

Part = Callable[[Stage, argparse.Namespace], Awaitable[None]]

PARTS: dict[str, Part] = {
    "webhooks": lambda on, given: webhooks.measure(on, seconds=given.seconds),
    "relay": lambda on, given: outbox.measure(on, rows=given.outbox),
    "consume": lambda on, given: consuming.measure(on, events=given.consume),
    "latency": lambda on, given: latency.measure(on, seconds=given.latency_seconds),
    "backlog": lambda on, given: consuming.by_replicas(on, events=given.backlog),
    "memory": lambda on, given: memory.measure(on, events=given.memory),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round of webhooks")
    parser.add_argument("--outbox", type=int, default=20_000, help="rows that the relay moves")
    parser.add_argument("--consume", type=int, default=10_000, help="events for a no-op handler")
    parser.add_argument("--latency-seconds", type=float, default=30.0)
    parser.add_argument("--backlog", type=int, default=20_000, help="events that replicas share")
    parser.add_argument("--memory", type=int, default=50_000, help="events through API and back")
    parser.add_argument("--directory", type=Path, help="on the disk to measure; /tmp by default")
    given = parser.parse_args()
    logs.configure(service="bench", level="error")
    uvloop.run(_run(given))  # as `zeitwork serve api` does


async def _run(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=given.directory, prefix="zeitwork-bench-") as name:
        directory = Path(name)
        figures.machine(directory)
        for part in given.only.split(","):
            # Servers of its own: what one part leaves behind must not slow the next.
            began = time.monotonic()
            async with stage(directory / part) as on:
                await PARTS[part](on, given)
            figures.line("this part took", f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
