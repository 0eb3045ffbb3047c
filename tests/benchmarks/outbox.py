"""The relay from a full outbox, against the same messages straight from memory."""

from __future__ import annotations

import asyncio
import time

from pydantic import SecretStr

from db.engine import Database
from db.session import UnitOfWork
from events.nats_bus import NatsBus
from producers.relay import Relay
from tests.benchmarks import facts, figures
from tests.benchmarks.stage import Stage
from tests.support.relay import waiting
from zeitwork import ids, metrics

_PER_TRANSACTION = 1000
_PER_BATCH = 1000  # the largest that the server takes
_SINGLY = 1000
_DEADLINE_SECONDS = 120.0
_POLL_SECONDS = 0.02


async def measure(stage: Stage, *, rows: int) -> None:
    """Print events a second out of an outbox of `rows`."""
    figures.heading(f"2. Relay from an outbox of {rows} rows (sync_interval always)")
    database = Database(SecretStr(stage.database_url), application="bench")
    try:
        async with facts.connected(stage.nats_url) as bus:
            work = UnitOfWork(database)
            await _emit(work, rows)
            ours = rows / await _drain(bus, work, rows)
            batches = rows / await _publish(bus, rows, size=_PER_BATCH)
            singly = _SINGLY / await _publish(bus, _SINGLY, size=1)
    finally:
        await database.stop()
    figures.line("relay, PostgreSQL to JetStream", f"{ours:.0f}/s", "goal ≥ 10000/s")
    figures.line("same messages from memory, atomic batches", f"{batches:.0f}/s")
    figures.line("same messages from memory, one by one", f"{singly:.0f}/s")
    figures.ratio("ratio to atomic batches from memory", ours, batches, "none set")
    figures.ratio("ratio to one by one from memory", ours, singly, "none set")


async def _emit(work: UnitOfWork, rows: int) -> None:
    project = ids.new(ids.Prefix.PROJECT)
    for start in range(0, rows, _PER_TRANSACTION):
        async with work.transaction() as tx:
            for _ in range(min(_PER_TRANSACTION, rows - start)):
                build = ids.new(ids.Prefix.BUILD)
                tx.emit(facts.fact(build), subject=build, project_id=project)


async def _drain(bus: NatsBus, work: UnitOfWork, rows: int) -> float:
    """Seconds until the outbox is empty."""
    relay, before = Relay(bus, work), _published()
    began = time.perf_counter()
    await relay.start()
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            while _published() - before < rows or await waiting(work.database):
                await asyncio.sleep(_POLL_SECONDS)
        return time.perf_counter() - began
    finally:
        await relay.stop()


def _published() -> float:
    return metrics.REGISTRY.get_sample_value("zeitwork_outbox_published_total") or 0.0


async def _publish(bus: NatsBus, count: int, *, size: int) -> float:
    """Seconds for messages made before, in batches of `size`."""
    project = ids.new(ids.Prefix.PROJECT)
    messages = [facts.message(project) for _ in range(count)]
    began = time.perf_counter()
    async with asyncio.timeout(_DEADLINE_SECONDS):
        for start in range(0, count, size):
            await bus.publish(messages[start : start + size])
    return time.perf_counter() - began
