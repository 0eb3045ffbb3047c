"""Events per second from a full outbox into JetStream, every message on disk before its row goes.

`python -m tests.benchmarks.relay [--events 50000] [--runs 3] [--loop uvloop]`
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform as host
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop
from pydantic import SecretStr

from cli.embedded.nats import NatsServer
from cli.embedded.postgres import PostgresServer
from db import migrate
from db.engine import Database
from db.session import UnitOfWork
from events.builds import BuildStarted
from events.nats_bus import NatsBus
from events.topology import provision_url
from producers.relay import Relay
from tests.support.relay import waiting
from tests.support.servers import free_port
from zeitwork import ids, logs, metrics

_PER_TRANSACTION = 1000
_DEADLINE_SECONDS = 120.0
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
    parser.add_argument("--loop", choices=_LOOPS, default="uvloop", help="`serve api` has uvloop")
    options = parser.parse_args()
    logs.configure(service="bench", level="warning", fmt="console")
    print(f"{host.platform()}, Python {host.python_version()}, {os.cpu_count()} cores shared")
    print(f"{options.loop}, JetStream R1 file storage with sync_interval always, PostgreSQL fsync")
    with tempfile.TemporaryDirectory(prefix="zeitwork-bench-") as directory:
        _LOOPS[options.loop](_measure(Path(directory), options.events, options.runs))


async def _measure(directory: Path, events: int, runs: int) -> None:
    nats = NatsServer(directory / "nats", port=free_port(), monitor_port=free_port())
    postgres = PostgresServer(directory / "postgres", port=free_port())
    await nats.start()
    try:
        await postgres.start()
        try:
            await _runs(nats.url, postgres.url, events, runs)
        finally:
            await postgres.stop()
    finally:
        await nats.stop()


async def _runs(nats_url: SecretStr, database_url: SecretStr, events: int, runs: int) -> None:
    await migrate.upgrade(database_url)
    await provision_url(nats_url.get_secret_value(), durables=[])
    bus, database = NatsBus(nats_url, name="bench"), Database(database_url, application="bench")
    await bus.start()
    try:
        work = UnitOfWork(database)
        rates = []
        for _ in range(runs):
            bytes_each = await _fill(work, events)
            rates.append(await _drain(bus, work, events))
            print(f"  {events} events of {bytes_each} bytes: {rates[-1]:,.0f} events/s")
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


def _published() -> float:
    return metrics.REGISTRY.get_sample_value("zeitwork_outbox_published_total") or 0.0


if __name__ == "__main__":
    main()
