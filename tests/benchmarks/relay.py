"""Events per second from a full outbox into JetStream, and how soon a standby takes over.

Every message is on disk before its row goes.
`python -m tests.benchmarks.relay [--events 50000] [--runs 3] [--takeovers 5] [--loop uvloop]`
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import platform as host
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from pydantic import SecretStr

from cli.embedded.nats import NatsServer
from cli.embedded.postgres import PostgresServer
from db import migrate
from db.engine import Database
from db.session import UnitOfWork
from events import streams
from events.builds import BuildStarted
from events.nats_bus import NatsBus
from events.topology import provision_url
from producers.relay import Relay
from tests.support.api_process import ApiProcess, api_process
from tests.support.eventually import eventually
from tests.support.relay import is_empty, waiting
from tests.support.servers import free_port
from zeitwork import ids, logs, metrics

_PER_TRANSACTION = 1000
_DEADLINE_SECONDS = 120.0
_START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_PROJECTS = 20
_LOOPS: dict[str, Callable[[Coroutine[Any, Any, None]], None]] = {
    "asyncio": asyncio.run,
    "uvloop": uvloop.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--takeovers", type=int, default=5)
    parser.add_argument("--loop", choices=_LOOPS, default="uvloop", help="`serve api` has uvloop")
    options = parser.parse_args()
    logs.configure(service="bench", level="warning", fmt="console")
    print(f"{host.platform()}, Python {host.python_version()}, {os.cpu_count()} cores shared")
    print(f"{options.loop}, JetStream R1 file storage with sync_interval always, PostgreSQL fsync")
    with tempfile.TemporaryDirectory(prefix="zeitwork-bench-") as directory:
        _LOOPS[options.loop](_measure(Path(directory), options))


async def _measure(directory: Path, options: argparse.Namespace) -> None:
    nats = NatsServer(directory / "nats", port=free_port(), monitor_port=free_port())
    postgres = PostgresServer(directory / "postgres", port=free_port())
    await nats.start()
    try:
        await postgres.start()
        try:
            await migrate.upgrade(postgres.url)
            await provision_url(nats.url.get_secret_value(), durables=[])
            await _runs(nats.url, postgres.url, options.events, options.runs)
            await _takeovers(nats.url, postgres.url, directory, options.takeovers)
        finally:
            await postgres.stop()
    finally:
        await nats.stop()


async def _runs(nats_url: SecretStr, database_url: SecretStr, events: int, runs: int) -> None:
    bus, database = NatsBus(nats_url, name="bench"), Database(database_url, application="bench")
    await bus.start()
    try:
        work = UnitOfWork(database)
        rates = []
        for _ in range(runs):
            bytes_each = await _fill(work, events)
            rates.append(await _drain(bus, work, events))
            print(f"  {events} events of {bytes_each} bytes: {rates[-1]:,.0f} events/s")
        batch = _sample("batch_events_sum") / _sample("batch_events_count")
        seconds = _sample("publish_seconds_sum") / _sample("publish_seconds_count")
        print(f"  {batch:.0f} events a batch, {1000 * seconds:.1f} ms to publish one")
        print(f"relay, full outbox: median {statistics.median(rates):,.0f} events/s")
    finally:
        await bus.stop()
        await database.stop()


async def _fill(work: UnitOfWork, events: int) -> int:
    """Emit as the product does; the size of one event, headers and all."""
    projects = [ids.new(ids.Prefix.PROJECT) for _ in range(_PROJECTS)]
    size = 0
    for start in range(0, events, _PER_TRANSACTION):
        async with work.transaction() as tx:
            for number in range(start, min(start + _PER_TRANSACTION, events)):
                build = ids.new(ids.Prefix.BUILD)
                said = tx.emit(
                    BuildStarted(build_id=build, deployment_id=ids.new(ids.Prefix.DEPLOYMENT)),
                    subject=build,
                    project_id=projects[number % _PROJECTS],
                )
                size = len(said.data.encode()) + len(str(said.headers()))
    return size


async def _drain(bus: NatsBus, work: UnitOfWork, events: int) -> float:
    relay = Relay(bus, work)
    before = _published()
    began = time.perf_counter()
    await relay.start()
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            while _published() - before < events:
                await asyncio.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - began
    finally:
        await relay.stop()
    assert await waiting(work.database) == 0
    return events / seconds


async def _takeovers(
    nats_url: SecretStr, database_url: SecretStr, directory: Path, count: int
) -> None:
    """kill -9 of the active process → the first event that the other one has moved."""
    database = Database(database_url, application="bench")
    work = UnitOfWork(database)
    settings = {
        "ZEITWORK_DATABASE_URL": database_url.get_secret_value(),
        "ZEITWORK_NATS_URL": nats_url.get_secret_value(),
    }
    times = []
    try:
        with ExitStack() as stack:
            active = await _replica(stack, directory, settings)
            await eventually(active.is_relaying, timeout=_START_SECONDS)
            for _ in range(count):
                standby = await _replica(stack, directory, settings)
                active.kill()
                began = time.perf_counter()
                await _fill(work, 1)
                await eventually(partial(is_empty, database), interval=_POLL_SECONDS)
                times.append(time.perf_counter() - began)
                active = standby
    finally:
        await database.stop()
    if times:
        print(
            f"kill -9 → the standby has moved an event, {count} times: "
            f"median {statistics.median(times):.2f} s, max {max(times):.2f} s"
        )


async def _replica(stack: ExitStack, directory: Path, settings: dict[str, str]) -> ApiProcess:
    process = stack.enter_context(api_process(directory, **settings))
    await eventually(lambda: asyncio.to_thread(process.is_ready), timeout=_START_SECONDS)
    return process


def _published() -> float:
    return metrics.REGISTRY.get_sample_value("zeitwork_outbox_published_total") or 0.0


def _sample(name: str) -> float:
    labels = {"stream": streams.EVENTS.name}
    return metrics.REGISTRY.get_sample_value(f"zeitwork_outbox_{name}", labels) or math.nan


if __name__ == "__main__":
    main()
