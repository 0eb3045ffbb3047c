"""Rows to begin with, and a conveyor that hands stored events to the shipped handlers."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import select
from typing_extensions import override

from consumers.binding import Binding, Handler
from consumers.builds.handler import Builder
from consumers.outcomes import Outcome
from consumers.registry import bindings
from consumers.wiring import Wiring
from db.engine import Database
from db.models import Artifact, Build, Deployment, Environment, EventLog, Instance, Node, Project
from db.models.base import Base
from db.queries.artifacts import artifact_record, blobs_note
from db.queries.deployments import Source, deployment_create
from db.queries.event_log import EventFilter, events_find
from db.queries.github import NewDelivery, deliveries_insert
from db.queries.instances import LIVE_STATES
from db.queries.nodes import NodeFacts, node_register
from db.queries.organisations import organisation_create
from db.queries.projects import NewProject, environment_lock, project_create
from db.queries.routes import routes_all
from db.session import Transaction, UnitOfWork
from events.builds import BuildSucceeded
from events.envelope import Envelope, unwrap, wrap
from events.event import Event
from events.github import PushReceived
from events.instances import InstanceReported
from events.memory import MemoryBus
from events.states import BuildState, InstanceState, NodeState
from zeitwork import clock, context, ids
from zeitwork.blobs import Blob

SHA = "a" * 40
REPO = "acme/shop"
FACT_GROUPS = ("deployments", "github", "instances", "previews", "routing", "scheduling")

_numbers = itertools.count(1)


class MovableClock(clock.SystemClock):
    """The machine's clock, put forward by hand; it still sleeps for real."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    @override
    def now(self) -> Any:
        return super().now() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Site:
    """A project and its production environment."""

    organisation_id: str
    project: Project
    environment: Environment


@dataclass(frozen=True)
class Version:
    """A deployment and its build."""

    deployment: Deployment
    build: Build


def sha(number: int) -> str:
    return f"{number:040x}"


async def add_organisation(work: UnitOfWork, slug: str | None = None) -> str:
    slug = slug or f"org-{next(_numbers)}"
    async with work.transaction() as tx:
        return organisation_create(tx, slug=slug, name=slug).id


async def add_site(work: UnitOfWork, slug: str | None = None, **changes: Any) -> Site:
    """A project; without a slug, a new organisation too."""
    slug = slug or f"site-{next(_numbers)}"
    organisation_id = changes.pop("organisation_id", None) or await add_organisation(work)
    fields: dict[str, Any] = {
        "organisation_id": organisation_id,
        "slug": slug,
        "name": slug,
        "github_repo": REPO,
        "github_installation_id": None,
        "clone_url": None,
        "default_branch": "main",
        "root_directory": "",
        "health_path": "/",
        **changes,
    }
    async with work.transaction() as tx:
        project, environment = await project_create(tx, NewProject(**fields), base_domain="test")
    return Site(organisation_id, project, environment)


async def add_version(
    work: UnitOfWork, site: Site, number: int = 1, *, trusted: bool = True
) -> Version:
    async with work.transaction() as tx:
        environment = await environment_lock(tx.session, site.environment.id)
        source = Source(
            commit_sha=sha(number),
            ref="refs/heads/main",
            commit_message=f"commit {number}",
            clone_url="https://git.test/acme/shop.git",
            actor="test",
            trusted=trusted,
        )
        deployment, build = await deployment_create(tx, environment, source, root_directory="")
    return Version(deployment, build)


async def add_node(
    work: UnitOfWork,
    name: str = "one",
    *,
    state: NodeState = NodeState.READY,
    runtime: str = "process",
) -> str:
    facts = NodeFacts(name, "127.0.0.1", runtime, "x86_64", 4000, 8192)
    async with work.transaction() as tx:
        node, _ = await node_register(tx.session, facts)
        node.state = state
        return node.id


async def finish_build(work: UnitOfWork, version: Version, **manifest: Any) -> Envelope:
    """Mark the build as done, with an artifact; the event that its builder would emit."""
    async with work.transaction() as tx:
        build = await tx.session.get_one(Build, version.build.id)
        build.state = BuildState.SUCCEEDED
        blob = Blob(f"{version.deployment.number:064x}", 1)
        await blobs_note(tx.session, [blob])
        artifact_id = await artifact_record(
            tx.session,
            build,
            layers=[blob],
            manifest={"builder": "static", "processes": {"web": "run"}, **manifest},
        )
        return tx.emit(
            BuildSucceeded(
                build_id=build.id,
                deployment_id=build.deployment_id,
                artifact_id=artifact_id,
                seconds=1.0,
            ),
            subject=build.id,
            organisation_id=build.organisation_id,
            project_id=build.project_id,
        )


async def add_push(work: UnitOfWork, *, guid: str | None = None, **changes: Any) -> Envelope:
    """A delivery and its event, stored as the webhook does."""
    guid = guid or f"guid-{next(_numbers)}"
    async with work.transaction() as tx:
        stored = ids.new(ids.Prefix.DELIVERY)
        delivery = NewDelivery(id=stored, guid=guid, event="push", action=None, body=b"")
        assert await deliveries_insert(tx.direct, [delivery])
        said = push(stored, **changes)
        return tx.emit(said.data, subject=stored)


def push(delivery_id: str, **changes: Any) -> Envelope:
    fields: dict[str, Any] = {
        "delivery_id": delivery_id,
        "github_repo": REPO,
        "github_installation_id": None,
        "ref": "refs/heads/main",
        "after": SHA,
        "deleted": False,
        "clone_url": "https://github.com/acme/shop.git",
        "commit_message": "a change",
        "pusher": "ann",
        **changes,
    }
    return envelope(PushReceived(**fields), subject=delivery_id)


def envelope(event: Event, *, subject: str) -> Envelope:
    return wrap(event, subject=subject, source="test")


_sequences = itertools.count(1)


def report(instance: Instance, state: InstanceState, **changes: Any) -> Envelope:
    """What the instance's node says next about it."""
    fields: dict[str, Any] = {
        "instance_id": instance.id,
        "node_id": instance.node_id,
        "generation": instance.generation,
        "sequence": next(_sequences),
        "state": state,
    }
    if state is InstanceState.READY:
        fields |= {"host": "127.0.0.1", "port": 20_000 + next(_numbers)}
    return envelope(InstanceReported(**{**fields, **changes}), subject=instance.id)


Delivery = Callable[[], Awaitable[Outcome]]


def _delivery(handler: Handler, said: Envelope) -> Delivery:
    async def deliver() -> Outcome:
        with context.bind(correlation_id=said.correlation_id, causation_id=said.id):
            return await handler(said)

    return deliver


class Conveyor:
    """Hands each stored event to every handler of its type, as relay and runtime would."""

    def __init__(
        self, work: UnitOfWork, *, groups: Sequence[str] = FACT_GROUPS, **wired: Any
    ) -> None:
        bus = MemoryBus()
        builder = Builder(work=work, bus=bus, pipeline=cast("Any", None))
        wiring = Wiring(
            work=work,
            bus=bus,
            builder=builder,
            refs=cast("Any", None),
            build_slots=1,
            drain_seconds=5.0,
            cache=cast("Any", None),
            **wired,
        )
        self._bindings = [
            binding for binding in bindings(wiring, groups) if isinstance(binding, Binding)
        ]
        self._database = work.database
        self._after = 0

    def deliveries(self, said: Envelope) -> list[Delivery]:
        """One for each handler of the event, to be made in any order and as often as wished."""
        return [
            _delivery(handler, said)
            for binding in self._bindings
            if (handler := binding.handlers.get(type(said.data))) is not None
        ]

    async def deliver(self, said: Envelope) -> list[Outcome]:
        """Hand over one event; what the handlers answer."""
        return [await delivery() for delivery in self.deliveries(said)]

    async def fresh(self) -> list[Envelope]:
        """Events stored since the last look, in order."""
        rows = await events_of(self._database, after=self._after)
        if rows:
            self._after = rows[-1].id
        return [unwrap(row.headers, row.payload) for row in rows]

    async def settle(self) -> list[Envelope]:
        """Deliver until nothing new comes; everything that came."""
        seen: list[Envelope] = []
        while news := await self.fresh():
            for said in news:
                await self.deliver(said)
            seen += news
        return seen


async def serve(conveyor: Conveyor, work: UnitOfWork, version: Version) -> None:
    """Build a version and let its node report every live instance of it as ready."""
    await finish_build(work, version)
    await conveyor.settle()
    await report_all(conveyor, work, version, InstanceState.READY)


async def report_all(
    conveyor: Conveyor, work: UnitOfWork, version: Version, state: InstanceState, **said: Any
) -> None:
    """The same word on every live instance of a version, and what follows from it."""
    for instance in await every(work, Instance, deployment_id=version.deployment.id):
        if instance.state in LIVE_STATES:
            await conveyor.deliver(report(instance, state, **said))
    await conveyor.settle()


async def live(work: UnitOfWork, version: Version) -> dict[int, str | None]:
    """Slot → node of what runs or is to run."""
    rows = await every(work, Instance, deployment_id=version.deployment.id)
    return {row.slot: row.node_id for row in rows if row.state in LIVE_STATES}


async def serving(work: UnitOfWork) -> int:
    """How many instances the only site's route leads to."""
    async with work.database.read() as session:
        (route,) = await routes_all(session)
    return len(route.targets)


async def replicas(work: UnitOfWork, site: Site, count: int) -> None:
    async with changed(work, Environment, site.environment.id) as environment:
        environment.replicas = count


async def events_of(
    database: Database, *, after: int | None = None, type_: str | None = None
) -> Sequence[EventLog]:
    async with database.read() as session:
        return await events_find(session, EventFilter(after=after, type=type_), limit=10_000)


async def fetch(work: UnitOfWork, model: type[Any], id_: str | int) -> Any:
    """A row as it is now."""
    async with work.database.read() as session:
        return await session.get_one(model, id_)


async def every(work: UnitOfWork, model: type[Base], **where: Any) -> Sequence[Any]:
    """All rows of a table, oldest first."""
    query = select(model).filter_by(**where).order_by(*model.__table__.primary_key)
    async with work.database.read() as session:
        return (await session.execute(query)).scalars().all()


@asynccontextmanager
async def changed(work: UnitOfWork, model: type[Any], id_: str | int) -> AsyncIterator[Any]:
    """A row to change by hand."""
    async with work.transaction() as tx:
        yield await tx.session.get_one(model, id_)


async def touch(tx: Transaction, environment_id: str) -> int:
    """Change an environment's row without a lock first; its version afterwards."""
    environment = await tx.session.get_one(Environment, environment_id)
    environment.last_number += 1
    await tx.session.flush()
    return environment.version


__all__ = [
    "SHA",
    "Artifact",
    "Conveyor",
    "MovableClock",
    "Node",
    "Site",
    "Version",
]
