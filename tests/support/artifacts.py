"""A site whose versions have blobs in a store, and what collects them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from typing_extensions import override

from consumers.builds.collector import ArtifactCollector, Keeping
from db.models import Deployment, Instance, StoredBlob
from db.session import UnitOfWork
from events.states import InstanceState
from tests.support.eventually import eventually
from tests.support.factories import (
    Conveyor,
    MovableClock,
    Site,
    Version,
    add_node,
    add_site,
    add_version,
    every,
    fetch,
    report_all,
    serve,
)
from zeitwork import blobs, clock
from zeitwork.blobs import Blob, DiskBlobStore

KEPT = 2
GRACE = timedelta(hours=24)
LATER = GRACE.total_seconds() + 3600


class Slow(DiskBlobStore):
    """A store that finds what it has and does not write it again, and whose deletions can be held.

    It deletes whatever it is told to: only the order of things protects a blob in it.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.going = asyncio.Event()
        self.go_on = asyncio.Event()
        self.held = False

    @override
    async def put(self, source: Path) -> Blob:
        measured = await blobs.measure(source)
        path = self.path(measured.digest)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read_bytes())
        return measured

    @override
    async def delete(self, digest: str, *, unless_put_since: datetime | None = None) -> None:
        self.going.set()
        if self.held:
            await self.go_on.wait()
        await super().delete(digest)


class Scene:
    """A site whose versions have blobs in a store, and what collects them."""

    @classmethod
    async def make(cls, work: UnitOfWork, root: Path, time: MovableClock) -> Scene:
        await add_node(work)
        return cls(work, await add_site(work), root / "blobs", time)

    def __init__(self, work: UnitOfWork, site: Site, root: Path, time: MovableClock) -> None:
        self.work = work
        self.site = site
        self.time = time
        self.store = DiskBlobStore(root)
        self.conveyor = Conveyor(work)
        self.collector = ArtifactCollector(work, self.store, Keeping(KEPT, GRACE))

    async def deploy(self) -> Version:
        """A version that serves, its blob in the store; the one before stops."""
        version = await add_version(self.work, self.site)
        await serve(self.conveyor, self.work, version)
        for instance in await every(self.work, Instance):
            if instance.state is InstanceState.DRAINING:
                old = await fetch(self.work, Deployment, instance.deployment_id)
                ended = Version(old, version.build)
                await report_all(self.conveyor, self.work, ended, InstanceState.STOPPED)
        self.write(version)
        return version

    def write(self, version: Version) -> Path:
        path = self.store.path(digest(version))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        return path

    async def collect_at_last(self) -> None:
        """Mark, and sweep once the grace is over."""
        await self.collector.round()
        self.time.advance(LATER)
        await self.collector.round()

    async def stored(self) -> set[str]:
        return {blob.digest async for blob in self.store.every()}

    async def noted(self) -> set[str]:
        return {row.digest for row in await every(self.work, StoredBlob)}

    async def unused(self, directory: Path) -> tuple[Slow, Blob, Path]:
        """A blob without use for longer than the grace, in a store, and the file it is of."""
        slow = Slow(directory / "slow")
        source = directory / "packed"
        source.write_text("content")
        blob = await slow.put(source)
        since = clock.now() - 2 * GRACE
        async with self.work.transaction() as tx:
            tx.session.add(StoredBlob(digest=blob.digest, size=blob.size, unused_since=since))
        return slow, blob, source

    @asynccontextmanager
    async def sweeping(self, slow: Slow) -> AsyncIterator[asyncio.Task[None]]:
        """A round that is about to delete from a store, and waits there."""
        slow.held = True
        collector = ArtifactCollector(self.work, slow, Keeping(0, GRACE))
        task = asyncio.ensure_future(collector.round())
        try:
            await eventually(slow.going.is_set)
            yield task
        finally:
            slow.go_on.set()
            await task


def digest(version: Version) -> str:
    return f"{version.deployment.number:064x}"
