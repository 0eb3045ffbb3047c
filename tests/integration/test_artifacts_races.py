"""No blob is deleted under somebody who has just come to rely on it, whoever comes first."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from consumers.builds.collector import ArtifactCollector, Keeping
from consumers.builds.noted_blobs import NotedBlobs
from db.models import Artifact, Build, Deployment
from db.queries.artifacts import BlobsGone, artifact_record, artifact_take
from db.session import UnitOfWork
from tests.support.artifacts import GRACE, KEPT, LATER, Scene, digest
from tests.support.eventually import eventually
from tests.support.factories import MovableClock, add_version, fetch
from zeitwork import clock


@pytest.fixture
async def scene(work: UnitOfWork, tmp_path: Path) -> AsyncIterator[Scene]:
    with clock.using(MovableClock()) as time:
        yield await Scene.make(work, tmp_path, time)


async def test_one_that_was_taken_is_not_deleted_by_a_round_that_had_marked_it(
    scene: Scene,
) -> None:
    versions = [await scene.deploy() for _ in range(KEPT + 1)]
    await scene.collector.round()
    scene.time.advance(LATER)
    old = await fetch(scene.work, Deployment, versions[0].deployment.id)
    async with scene.work.transaction() as tx:
        await artifact_take(tx.session, old.artifact_id)
        # While the taker's transaction is open.
        await scene.collector.round()
    assert digest(versions[0]) in await scene.stored()
    assert (await fetch(scene.work, Artifact, old.artifact_id)).deleted_at is None


async def test_a_build_that_comes_while_its_content_is_deleted_stores_it_again(
    scene: Scene, tmp_path: Path
) -> None:
    slow, blob, source = await scene.unused(tmp_path)
    async with scene.sweeping(slow):
        putting = asyncio.ensure_future(NotedBlobs(scene.work, slow).put(source))
        # It must not find present what is about to be deleted.
        await _waits_for_a_lock(scene.work)
        assert not putting.done()
    await putting
    assert await slow.find(blob.digest) is not None
    assert await scene.noted() == {blob.digest}


async def test_a_deletion_that_comes_while_a_build_has_noted_its_content_leaves_it(
    scene: Scene, tmp_path: Path
) -> None:
    slow, blob, source = await scene.unused(tmp_path)
    collector = ArtifactCollector(scene.work, slow, Keeping(0, GRACE))
    before = clock.now() - GRACE
    await NotedBlobs(scene.work, slow).put(source)
    # The collector had listed it before that.
    await collector._sweep(blob.digest, before)
    assert not slow.going.is_set()
    assert await slow.find(blob.digest) is not None


async def test_a_build_whose_blob_was_deleted_before_it_could_say_so_runs_again(
    scene: Scene, tmp_path: Path
) -> None:
    """It took longer than the grace."""
    slow, blob, source = await scene.unused(tmp_path)
    await NotedBlobs(scene.work, slow).put(source)
    collector = ArtifactCollector(scene.work, slow, Keeping(0, GRACE))
    await collector.round()
    scene.time.advance(LATER)
    await collector.round()
    assert await slow.find(blob.digest) is None
    version = await add_version(scene.work, scene.site)
    async with scene.work.transaction() as tx:
        build = await tx.session.get_one(Build, version.build.id)
        with pytest.raises(BlobsGone):
            await artifact_record(tx.session, build, layers=[blob], manifest={})


async def test_a_collector_that_was_stopped_so_long_that_it_lost_its_lock_deletes_nothing_new(
    scene: Scene, tmp_path: Path
) -> None:
    """The store itself is the last to know: what was put since stays."""
    source = tmp_path / "source"
    source.write_text("content")
    blob = await scene.store.put(source)
    path = scene.store.path(blob.digest)
    fresh = clock.now().timestamp()
    os.utime(path, (fresh, fresh))
    await scene.store.delete(blob.digest, unless_put_since=clock.now() - GRACE)
    assert path.exists()
    scene.time.advance(LATER)
    await scene.store.delete(blob.digest, unless_put_since=clock.now() - GRACE)
    assert not path.exists()


async def _waits_for_a_lock(work: UnitOfWork) -> None:
    async def waits() -> bool:
        async with work.database.read() as session:
            query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool((await session.execute(query)).scalar_one())

    await eventually(waits)
