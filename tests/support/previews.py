"""Pull requests as GitHub tells of them, and a repository's previews as rows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from consumers.previews.reconciler import PreviewReconciler
from db.models import Build, Deployment, Environment, Instance, Preview, Project, WebhookDelivery
from db.models.base import Base
from db.queries.github import NewDelivery, deliveries_insert
from db.session import UnitOfWork
from events.envelope import Envelope
from events.github import PullRequestReceived
from events.states import InstanceState
from tests.support.factories import (
    REPO,
    Conveyor,
    Site,
    Version,
    add_push,
    add_site,
    changed,
    every,
    fetch,
    finish_build,
    report_all,
    sha,
)
from zeitwork import ids
from zeitwork.blobs import DiskBlobStore

_numbers = itertools.count(1)
_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Stage:
    """A project with previews, and everything that acts on it."""

    work: UnitOfWork
    conveyor: Conveyor
    site: Site
    blobs: DiskBlobStore
    reconciler: PreviewReconciler

    @classmethod
    async def make(cls, work: UnitOfWork, directory: Path, **settings: Any) -> Stage:
        site = await add_site(work)
        blobs = DiskBlobStore(directory / "blobs")
        stage = cls(work, Conveyor(work), site, blobs, PreviewReconciler(work))
        await stage.configure(previews_enabled=True, **settings)
        await stage.conveyor.settle()
        return stage

    async def configure(self, **settings: Any) -> None:
        async with changed(self.work, Project, self.site.project.id) as project:
            for name, value in settings.items():
                setattr(project, name, value)

    async def hear(self, action: str, **changes: Any) -> WebhookDelivery:
        """A pull_request webhook, taken; its delivery's row."""
        said = await add_pull(self.work, action, **changes)
        await self.conveyor.settle()
        delivery: WebhookDelivery = await fetch(self.work, WebhookDelivery, said.subject)
        return delivery

    async def push(self, **changes: Any) -> WebhookDelivery:
        said = await add_push(self.work, **changes)
        await self.conveyor.settle()
        delivery: WebhookDelivery = await fetch(self.work, WebhookDelivery, said.subject)
        return delivery

    async def reconcile(self) -> None:
        await self.reconciler.round()
        await self.conveyor.settle()

    async def previews(self) -> list[Preview]:
        return list(await every(self.work, Preview))

    async def deployments(self) -> list[Deployment]:
        """Those of previews, oldest first."""
        production = self.site.environment.id
        found = await every(self.work, Deployment)
        return [each for each in found if each.environment_id != production]

    async def environments(self) -> list[Environment]:
        production = self.site.environment.id
        return [each for each in await every(self.work, Environment) if each.id != production]

    async def serve(self, deployment: Deployment) -> None:
        """Build it, and let its node say that it is ready."""
        (build,) = await every(self.work, Build, deployment_id=deployment.id)
        version = Version(deployment, build)
        await finish_build(self.work, version)
        await self.conveyor.settle()
        await report_all(self.conveyor, self.work, version, InstanceState.READY)

    async def stop_all(self) -> None:
        """The nodes stop what is draining."""
        for instance in await every(self.work, Instance):
            if instance.state is InstanceState.DRAINING:
                (build,) = await every(self.work, Build, deployment_id=instance.deployment_id)
                deployment = await fetch(self.work, Deployment, instance.deployment_id)
                version = Version(deployment, build)
                await report_all(self.conveyor, self.work, version, InstanceState.STOPPED)


async def add_pull(work: UnitOfWork, action: str, **changes: Any) -> Envelope:
    """A delivery of a pull_request webhook and its event, stored as the webhook does."""
    number = next(_numbers)
    async with work.transaction() as tx:
        stored = ids.new(ids.Prefix.DELIVERY)
        delivery = NewDelivery(stored, f"pull-{number}", "pull_request", action, b"")
        assert await deliveries_insert(tx.direct, [delivery])
        fields: dict[str, Any] = {
            "delivery_id": stored,
            "action": action,
            "github_repo": REPO,
            "github_installation_id": None,
            "number": 42,
            "title": "A change",
            "author": "ann",
            "open": action != "closed",
            "draft": False,
            "head_sha": sha(1),
            "head_ref": "feature/x",
            "head_repo": REPO,
            "base_ref": "main",
            "clone_url": "https://github.com/acme/shop.git",
            "changed_at": _START + timedelta(seconds=number),
            **changes,
        }
        return tx.emit(PullRequestReceived(**fields), subject=stored)


async def counts(work: UnitOfWork) -> dict[str, int]:
    """How many rows each table has, but for what is kept as history, for a time."""
    history = {
        "event_log",
        "outbox",
        "inbox",
        "triggers",
        "webhook_deliveries",
        "pull_requests",
        "git_refs",
    }
    found = {}
    async with work.database.read() as session:
        for table in Base.metadata.sorted_tables:
            if table.name not in history:
                rows = await session.execute(text(f"SELECT count(*) FROM {table.name}"))
                found[table.name] = rows.scalar_one()
    return found
