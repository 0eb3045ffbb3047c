"""A process that says something at a fixed rate, as the API does (commit, wake, relay) or bare.

It tells, for each build, when it began to say it and when that was accepted: committed, or
confirmed by JetStream. Late ticks count from when they were due.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

import uvloop
from pydantic import SecretStr

from db import wake
from db.engine import Database
from db.session import UnitOfWork
from events.nats_bus import NatsBus
from producers.relay import Relay
from tests.benchmarks import facts
from tests.benchmarks.stage import tell
from tests.support.relay import waiting
from zeitwork import ids, logs
from zeitwork.service import Supervisor

_DRAIN_SECONDS = 20.0
Say = Callable[[], Awaitable[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=("ours", "faststream"), required=True)
    parser.add_argument("--nats", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    logs.configure(service="bench", level="warning")
    uvloop.run(_run(options))


async def _run(options: argparse.Namespace) -> None:
    bus = NatsBus(options.nats, name="bench")
    database = Database(SecretStr(options.database), application="bench")
    work = UnitOfWork(database, wake=wake.through(bus))
    services = Supervisor([database, bus, Relay(bus, work)])
    try:
        await services.start()

        async def commit() -> str:
            build = ids.new(ids.Prefix.BUILD)
            async with work.transaction() as tx:
                tx.emit(facts.fact(build), subject=build, project_id=options.project)
            return build

        async def publish() -> str:
            said = facts.message(options.project)
            await bus.publish([said])
            return said.headers["ce-subject"]

        say = commit if options.kind == "ours" else publish
        times = await _at_rate(say, rate=options.rate, seconds=options.seconds)
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await waiting(database):
                await asyncio.sleep(0.1)
        tell(times)
    finally:
        await services.stop()


async def _at_rate(say: Say, *, rate: float, seconds: float) -> dict[str, tuple[float, float]]:
    """By build: when it was due, and when it was accepted."""
    times: dict[str, tuple[float, float]] = {}

    async def one(due: float) -> None:
        build = await say()
        times[build] = (due, time.monotonic())

    began = time.monotonic() + 0.1
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(one(due))
    return times


if __name__ == "__main__":
    main()
