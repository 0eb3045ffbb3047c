"""A consumer process with a handler that does nothing: ours, or plain FastStream.

It tells "ready", consumes until SIGTERM, and then tells how many it handled and when. Times are
CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.security import NatsToken
from pydantic import SecretStr

from consumers.binding import Binding
from consumers.handling import once
from consumers.outcomes import Done, Outcome
from consumers.runtime import ConsumerRuntime
from consumers.together import OneTransaction
from db.engine import Database
from db.session import Transaction, UnitOfWork
from events import drift, nats_url
from events.builds import BuildStarted
from events.streams import EVENTS
from tests.benchmarks import facts
from tests.benchmarks.stage import tell
from zeitwork import logs

_POOL = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=("ours", "faststream"), required=True)
    parser.add_argument("--nats", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--durable", required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--pullers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1, help="messages of one pull")
    options = parser.parse_args()
    logs.configure(service="bench", level="warning")
    asyncio.run(_run(options))


class Tally:
    """What was handled; `entries` holds the moment of each build's event."""

    def __init__(self) -> None:
        self.entries: dict[str, float] = {}

    def note(self, build_id: str) -> None:
        self.entries[build_id] = time.monotonic()

    async def handle(self, _tx: Transaction, event: BuildStarted) -> Outcome:
        self.note(event.build_id)
        return Done()


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tally = Tally()
    consuming = _ours if options.kind == "ours" else _faststream
    async with consuming(options, tally):
        tell("ready")
        await stop.wait()
    tell(tally.entries)


@asynccontextmanager
async def _ours(options: argparse.Namespace, tally: Tally) -> AsyncIterator[None]:
    database = Database(SecretStr(options.database), application="bench", pool_size=_POOL)
    work = UnitOfWork(database)
    durable = facts.durable(options.durable, options.project)
    together = OneTransaction(
        work, durable, durable.name, {BuildStarted: tally.handle}, most=options.batch
    )
    binding = Binding(
        durable,
        {BuildStarted: once(work, durable.name, tally.handle)},
        concurrency=options.pullers,
        together=together if options.batch > 1 else None,
    )
    runtime = ConsumerRuntime(options.nats, [binding])
    try:
        await database.start()
        await runtime.start()
        yield
    finally:
        await runtime.stop()
        await database.stop()


@asynccontextmanager
async def _faststream(options: argparse.Namespace, tally: Tally) -> AsyncIterator[None]:
    endpoint = nats_url.parse(options.nats)
    broker = NatsBroker(
        list(endpoint.servers), security=NatsToken(endpoint.token or ""), logger=None
    )

    async def handle(body: dict[str, Any]) -> None:
        tally.note(body["build_id"])

    config = drift.consumer_config(facts.durable(options.durable, options.project))
    for _ in range(options.pullers):
        subscriber = broker.subscriber(
            durable=options.durable,
            stream=JStream(EVENTS.name, declare=False),
            config=config,
            pull_sub=PullSub(batch_size=options.batch),
            ack_policy=AckPolicy.ACK,
        )
        subscriber(handle)
    await broker.start()
    try:
        yield
    finally:
        await broker.stop()


if __name__ == "__main__":
    main()
