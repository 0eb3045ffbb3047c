"""Collects what a platform leaves behind once it has come to rest: rows, streams, processes, files.

`collect` makes the history that `tests/failures/history.py` judges; `leftovers` looks for what must
not be there any more (I5 actual is desired, I6 no orphans, I7 nothing waits).
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from sqlalchemy import func, select

from consumers.binding import Bound
from consumers.handling import once
from consumers.registry import bindings
from db import outbox
from db.engine import Database
from db.models import (
    ArtifactLayer,
    Build,
    Deployment,
    EventLog,
    Inbox,
    Instance,
    WebhookDelivery,
)
from db.session import UnitOfWork
from events.instances import InstanceReported
from events.memory import MemoryBus
from events.states import DeliveryState, DeploymentState, InstanceState, terminal
from events.streams import Durable
from tests.failures.history import Fact, History, Push
from tests.support.agents import processes_of
from tests.support.digest import broken_rules, unfinished
from tests.support.pushes import request
from tests.support.running import wiring

_LIVE = frozenset({InstanceState.PENDING, InstanceState.STARTING, InstanceState.READY})


async def collect(database: Database, js: JetStreamContext, pushes: Sequence[Push]) -> History:
    """Read everything; nothing may move meanwhile."""
    async with database.read() as session:
        log = (await session.scalars(select(EventLog).order_by(EventLog.id))).all()
        deliveries = (await session.scalars(select(WebhookDelivery))).all()
        inbox = (await session.execute(select(Inbox.consumer, Inbox.event_id))).all()
        rows: list[Any] = []
        for model in (Deployment, Build, Instance):
            rows += (await session.scalars(select(model))).all()
    return History(
        pushes=pushes,
        deliveries={row.guid: row.id for row in deliveries},
        facts=[_fact(row) for row in log],
        streamed=[
            headers["ce-id"] for headers in await stored(js, "ZW_EVENTS") if "ce-id" in headers
        ],
        consumers=_consumers(database),
        taken={(consumer, event_id) for consumer, event_id in inbox},
        buried={
            (headers["zw-durable"], headers.get("ce-id", ""))
            for headers in await stored(js, "ZW_DLQ")
        },
        states={row.id: row.state for row in rows},
        replicas={row.id: row.replicas for row in rows if isinstance(row, Deployment)},
    )


async def stored(js: JetStreamContext, stream: str) -> list[dict[str, str]]:
    """The headers of every message of a stream, oldest first."""
    return [dict(message.headers or {}) for message in await messages(js, stream)]


async def messages(js: JetStreamContext, stream: str) -> list[RawStreamMsg]:
    """Every message of a stream that deletes none, oldest first."""
    state = (await js.stream_info(stream)).state
    first = max(1, state.first_seq)
    return [await js.get_msg(stream, number) for number in range(first, state.last_seq + 1)]


async def addresses(js: JetStreamContext) -> set[tuple[str, int]]:
    """Where instances are ready, by the reports in ZW_EVENTS."""
    bodies = [
        json.loads(message.data or b"")
        for message in await messages(js, "ZW_EVENTS")
        if (message.headers or {}).get("ce-type", "").endswith(InstanceReported.event_type)
    ]
    return {(said["host"], said["port"]) for said in bodies if said["state"] == InstanceState.READY}


async def waiting(database: Database, js: JetStreamContext) -> list[str]:
    """What is still to be done; empty once the platform is at rest.

    Outbox and durables cannot be read in one instant: what leaves one while the other is read would
    be seen in neither. So nothing may have been said between the first look and the last.
    """
    before = await _said(database, js)
    async with database.read() as session:
        depth = sum(each.depth for each in (await outbox.backlog(session)).values())
        deployments = (await session.scalars(select(Deployment))).all()
        builds = (await session.scalars(select(Build))).all()
        instances = (await session.scalars(select(Instance))).all()
        received = WebhookDelivery.state == DeliveryState.RECEIVED
        untaken = (await session.scalars(select(WebhookDelivery).where(received))).all()
    found = [f"{depth} events in the outbox"] if depth else []
    found += [f"the push {row.guid} waits to be taken" for row in untaken]
    found += [
        f"{row.id} is {row.state}"
        for row in deployments
        if not terminal(row.state) and row.state is not DeploymentState.ACTIVE
    ]
    found += [f"{row.id} is {row.state}" for row in builds if not terminal(row.state)]
    moving = (InstanceState.PENDING, InstanceState.STARTING, InstanceState.DRAINING)
    found += [f"{row.id} is {row.state}" for row in instances if row.state in moving]
    infos = await asyncio.gather(
        *(js.consumer_info(durable.stream, durable.name) for durable in pulled(database))
    )
    found += [
        f"{info.name} has {info.num_pending} to do and {info.num_ack_pending} in hand"
        for info in infos
        if info.num_pending or info.num_ack_pending
    ]
    if await _said(database, js) != before:
        found.append("something was said meanwhile")
    return found


async def _said(database: Database, js: JetStreamContext) -> tuple[int | None, int]:
    """How far the log and the stream have come."""
    async with database.read() as session:
        logged = await session.scalar(select(func.max(EventLog.id)))
    return logged, (await js.stream_info("ZW_EVENTS")).state.last_seq


async def leftovers(database: Database, data: Path) -> list[str]:
    """I5 and I6: what serves is what should, and everything that is there belongs to a row."""
    found = [f"I4 {complaint}" for complaint in await broken_rules(database)]
    found += [f"I5 {complaint}" for complaint in await unfinished(database)]
    async with database.read() as session:
        deployments = (await session.scalars(select(Deployment))).all()
        instances = (await session.scalars(select(Instance))).all()
        digests = set(await session.scalars(select(ArtifactLayer.digest)))
    ready: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        if instance.state is InstanceState.READY:
            ready[instance.deployment_id].append(instance)
    found += [
        f"I5 {row.id} has {len(ready[row.id])} of {row.replicas} instances"
        for row in deployments
        if row.state is DeploymentState.ACTIVE and len(ready[row.id]) != row.replicas
    ]
    found += await asyncio.to_thread(_unanswered, [one for many in ready.values() for one in many])
    alive = {one.id for one in instances if one.state in _LIVE}
    found += await asyncio.to_thread(_orphans, data, alive, digests)
    return found


def _unanswered(instances: Sequence[Instance]) -> list[str]:
    found = []
    for instance in instances:
        try:
            answer = request(f"http://{instance.host}:{instance.port}/")
        except OSError as error:
            found.append(f"I5 {instance.id} does not answer: {error}")
            continue
        if answer.status != 200:
            found.append(f"I5 {instance.id} answers {answer.status}")
    return found


def _orphans(data: Path, alive: set[str], digests: set[str]) -> list[str]:
    """I6 on this machine: processes, their directories, artifacts, build directories."""
    node = data / "node" / "one"
    runs = {path.name for path in (node / "instances").glob("*")}
    blobs = {path.name for path in (data / "blobs").glob("??/*")}
    builds = {path.name for path in (data / "builds").glob("bld_*")}
    found = [f"I6 {name} is on the node, and nobody wants it" for name in runs - alive]
    found += [f"I6 the artifact {name[:12]} belongs to no build" for name in blobs - digests]
    found += [f"I6 the artifact {name[:12]} is gone" for name in digests - blobs]
    found += [f"I6 {name} was left where builds run" for name in builds]
    if not alive:
        left = processes_of(node)
        found += [f"I6 process {one.pid} {one.name()} runs for nobody" for one in left]
    return found


def _fact(row: EventLog) -> Fact:
    return Fact(
        event_id=row.event_id,
        type=row.type,
        aggregate_id=row.aggregate_id,
        version=row.aggregate_version,
        causation_id=row.causation_id,
        actor=row.actor,
        data=json.loads(row.payload),
    )


def _consumers(database: Database) -> dict[str, set[str]]:
    """Event type → consumers that note it in the inbox, from the wiring table itself."""
    found: dict[str, set[str]] = defaultdict(set)
    for binding in _bound(database):
        for event, handler in getattr(binding, "handlers", {}).items():
            if handler.__qualname__.startswith(once.__name__):
                found[event.event_type].add(binding.durable.name)
    return dict(found)


def pulled(database: Database) -> list[Durable]:
    """The durables that consumers pull from."""
    return [binding.durable for binding in _bound(database)]


def _bound(database: Database) -> Sequence[Bound]:
    return bindings(wiring(UnitOfWork(database), MemoryBus()))


async def served(database: Database) -> set[tuple[str, str]]:
    """The commit of each active deployment, and what each of its instances answers to a visitor."""
    async with database.read() as session:
        rows = await session.execute(
            select(Deployment.commit_sha, Instance.host, Instance.port)
            .join(Instance, Instance.deployment_id == Deployment.id)
            .where(
                Deployment.state == DeploymentState.ACTIVE, Instance.state == InstanceState.READY
            )
        )
        found = rows.all()
    return {
        (sha, (await asyncio.to_thread(request, f"http://{host}:{port}/")).body)
        for sha, host, port in found
    }
