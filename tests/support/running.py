"""A site that runs, made by the shipped handlers, and the backbone of a process on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from sqlalchemy import text

from consumers.builds.handler import Builder
from consumers.outcomes import Done, Outcome
from consumers.registry import bindings
from consumers.runtime import ConsumerRuntime
from consumers.wiring import Wiring
from db import wake
from db.models import Instance, Operation
from db.models.base import Base
from db.queries.github import NewDelivery, deliveries_insert
from db.queries.operations import operation_create
from db.session import UnitOfWork
from events.bus import Bus
from events.envelope import Envelope
from events.nats_bus import NatsBus
from events.operation_params import params_of
from events.states import InstanceState
from producers.relay import Relay
from tests.support.eventually import eventually
from tests.support.factories import (
    Conveyor,
    Site,
    Version,
    add_node,
    add_site,
    add_version,
    every,
    fetch,
    finish_build,
    push,
    report,
)
from zeitwork import ids
from zeitwork.cache import MemoryCache
from zeitwork.errors import SourceUnavailable


async def running_site(work: UnitOfWork, conveyor: Conveyor) -> tuple[Site, Version, Instance]:
    """A deployment that serves with one instance; every event has been through its inboxes."""
    site = await add_site(work)
    await add_node(work)
    version = await add_version(work, site)
    await conveyor.settle()
    await finish_build(work, version)
    await conveyor.settle()
    (instance,) = await every(work, Instance, deployment_id=version.deployment.id)
    await emit(work, report(instance, InstanceState.READY, node_id=instance.node_id))
    await conveyor.settle()
    return site, version, await fetch(work, Instance, instance.id)


async def emit(work: UnitOfWork, said: Envelope) -> Envelope:
    """Put an event into the log as its producer would."""
    async with work.transaction() as tx:
        return tx.emit(said.data, subject=said.subject)


async def deliver_push(work: UnitOfWork) -> str:
    """A push with its delivery's row, stored and in the log; the delivery's id."""
    delivery_id = ids.new(ids.Prefix.DELIVERY)
    delivery = NewDelivery(id=delivery_id, guid=ids.token(), event="push", action=None, body=b"")
    async with work.transaction() as tx:
        assert await deliveries_insert(tx.direct, [delivery])
    await emit(work, push(delivery_id))
    return delivery_id


class IdleBuilder:
    """Takes build requests and builds nothing."""

    def __init__(self) -> None:
        self.asked: list[Envelope] = []

    async def build_requested(self, envelope: Envelope) -> Outcome:
        self.asked.append(envelope)
        return Done()


class KnownRefs:
    """Knows the commits of some references; the others are not there."""

    def __init__(self, commits: dict[str, str]) -> None:
        self.commits = commits
        self.asked: list[tuple[str, str]] = []

    async def commit_of(self, clone_url: str, ref: str, *, project_id: str | None = None) -> str:
        assert project_id is not None
        self.asked.append((clone_url, ref))
        if ref not in self.commits:
            raise SourceUnavailable(f"no branch or tag {ref!r}")
        return self.commits[ref]


def wiring(work: UnitOfWork, bus: Bus, **changes: Any) -> Wiring:
    fields: dict[str, Any] = {
        "work": work,
        "bus": bus,
        "builder": Builder(work=work, bus=bus, pipeline=cast("Any", None)),
        "refs": KnownRefs({}),
        "build_slots": 1,
        "drain_seconds": 5.0,
        "cache": MemoryCache(),
        **changes,
    }
    return Wiring(**fields)


class Backbone:
    """Relay and consumers of some groups between a database and a NATS server."""

    def __init__(self, bus: NatsBus, wired: Wiring) -> None:
        self.bus = bus
        self.wiring = wired
        self.work = wired.work

    async def carried_out(self, kind: str, **params: Any) -> Any:
        """Ask for an operation, and its row once it has ended."""
        checked = params_of(kind, params).model_dump(mode="json", exclude_none=True)
        async with self.work.transaction() as tx:
            operation = operation_create(tx, kind, checked, actor="test")
        return await self.ended(operation.id)

    async def ended(self, operation_id: str) -> Any:
        async def look() -> Any:
            row = await fetch(self.work, Operation, operation_id)
            return row if row.finished_at is not None else None

        return await eventually(look, timeout=30)


@asynccontextmanager
async def backbone(
    url: str, work: UnitOfWork, groups: Sequence[str] = ("operations",), **changes: Any
) -> AsyncIterator[Backbone]:
    bus = NatsBus(url, name="test")
    waking = UnitOfWork(work.database, wake=wake.through(bus))
    wired = wiring(waking, bus, **changes)
    runtime = ConsumerRuntime(url, bindings(wired, groups), graceful_seconds=1.0)
    relay = Relay(bus, waking)
    await bus.start()
    try:
        await runtime.start()
        await relay.start()
        yield Backbone(bus, wired)
    finally:
        await relay.stop()
        await runtime.stop()
        await bus.stop()


async def digests(work: UnitOfWork, *, without: Sequence[str] = ()) -> dict[str, str]:
    """One line a table, which changes with any row version in it."""
    found = {}
    async with work.database.read() as session:
        for table in Base.metadata.sorted_tables:
            if table.name not in without:
                rows = await session.execute(
                    text(
                        "SELECT md5(coalesce(string_agg(line, chr(10) ORDER BY line), '')) FROM "
                        f"(SELECT t::text || t.xmin::text AS line FROM {table.name} AS t) AS lines"
                    )
                )
                found[table.name] = rows.scalar_one()
    return found
