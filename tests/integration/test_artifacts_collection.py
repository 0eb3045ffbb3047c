"""Artifacts that nobody needs go, and none goes that somebody needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
from typing_extensions import override

from consumers.builds.collector import ArtifactCollector, Keeping
from db.models import Artifact, Deployment, Environment, Instance
from db.queries.artifacts import ArtifactGone, artifact_take, artifacts_page
from db.session import UnitOfWork
from events.states import DeploymentState, InstanceState
from tests.support.artifacts import GRACE, KEPT, LATER, Scene, digest
from tests.support.factories import (
    MovableClock,
    add_site,
    add_version,
    changed,
    every,
    fetch,
    finish_build,
    report_all,
    serve,
)
from zeitwork import clock
from zeitwork.blobs import DiskBlobStore
from zeitwork.errors import Unavailable


@pytest.fixture
async def scene(work: UnitOfWork, tmp_path: Path) -> AsyncIterator[Scene]:
    with clock.using(MovableClock()) as time:
        yield await Scene.make(work, tmp_path, time)


async def test_what_serves_and_the_last_that_served_are_kept_and_the_rest_goes_after_the_grace(
    scene: Scene,
) -> None:
    versions = [await scene.deploy() for _ in range(4)]
    await scene.collector.round()
    assert len(await scene.stored()) == 4
    scene.time.advance(GRACE.total_seconds() - 60)
    await scene.collector.round()
    assert len(await scene.stored()) == 4
    scene.time.advance(120)
    await scene.collector.round()
    kept = {digest(version) for version in versions[-KEPT:]}
    assert await scene.stored() == kept
    assert await scene.noted() == kept
    rows = {row.digest: row.deleted_at for row in await every(scene.work, Artifact)}
    assert {name for name, at in rows.items() if at is None} == kept
    assert len(rows) == 4  # their deployments still tell what they were


async def test_a_failed_version_takes_no_place_among_the_last_ones(scene: Scene) -> None:
    first = await scene.deploy()
    second = await scene.deploy()
    for _ in range(KEPT):
        failed = await add_version(scene.work, scene.site)
        await finish_build(scene.work, failed)
        await scene.conveyor.settle()
        await report_all(scene.conveyor, scene.work, failed, InstanceState.FAILED)
        scene.write(failed)
    await scene.collect_at_last()
    assert await scene.stored() == {digest(first), digest(second)}


async def test_what_is_rolled_out_is_kept_however_long_it_takes(scene: Scene) -> None:
    version = await add_version(scene.work, scene.site)
    await finish_build(scene.work, version)
    await scene.conveyor.settle()
    scene.write(version)
    deployment = await fetch(scene.work, Deployment, version.deployment.id)
    assert deployment.state is DeploymentState.DEPLOYING
    await scene.collect_at_last()
    assert await scene.stored() == {digest(version)}


async def test_what_still_drains_is_kept(scene: Scene) -> None:
    for _ in range(KEPT + 1):
        await scene.deploy()
    oldest = (await every(scene.work, Instance))[0]
    async with changed(scene.work, Instance, oldest.id) as instance:
        instance.state = InstanceState.DRAINING
    await scene.collect_at_last()
    assert len(await scene.stored()) == KEPT + 1


async def test_content_that_another_project_runs_stays(scene: Scene) -> None:
    mine = await scene.deploy()
    other = await add_version(scene.work, await add_site(scene.work))
    assert digest(other) == digest(mine)
    await serve(scene.conveyor, scene.work, other)
    for _ in range(KEPT):
        await scene.deploy()
    await scene.collect_at_last()
    assert digest(mine) in await scene.stored()


async def test_the_artifacts_of_an_environment_that_is_closed_are_not_kept(scene: Scene) -> None:
    version = await scene.deploy()
    async with changed(scene.work, Deployment, version.deployment.id) as deployment:
        deployment.state = DeploymentState.STOPPED
    for instance in await every(scene.work, Instance):
        async with changed(scene.work, Instance, instance.id) as row:
            row.state = InstanceState.STOPPED
    async with changed(scene.work, Environment, scene.site.environment.id) as environment:
        environment.closing_at = clock.now()
    await scene.collect_at_last()
    assert await scene.stored() == set()


async def test_a_deployment_of_an_artifact_that_is_gone_fails_with_a_code(scene: Scene) -> None:
    """Its event came so late that nothing seemed to need what was built."""
    version = await add_version(scene.work, scene.site)
    await finish_build(scene.work, version)
    scene.write(version)
    await scene.collect_at_last()
    assert await scene.stored() == set()
    await scene.conveyor.settle()
    deployment = await fetch(scene.work, Deployment, version.deployment.id)
    assert deployment.state is DeploymentState.FAILED
    assert deployment.error_code == "artifact_gone"
    assert "deploy the commit again" in deployment.error_detail


async def test_an_artifact_that_was_given_up_cannot_be_taken_and_a_new_build_brings_it_back(
    scene: Scene, tmp_path: Path
) -> None:
    versions = [await scene.deploy() for _ in range(KEPT + 1)]
    await scene.collect_at_last()
    gone = await fetch(scene.work, Deployment, versions[0].deployment.id)
    with pytest.raises(ArtifactGone):
        async with scene.work.transaction() as tx:
            await artifact_take(tx.session, gone.artifact_id)
    async with scene.work.transaction() as tx:
        await artifact_take(
            tx.session, (await fetch(scene.work, Deployment, versions[1].deployment.id)).artifact_id
        )
    await finish_build(scene.work, versions[0])
    async with scene.work.transaction() as tx:
        await artifact_take(tx.session, gone.artifact_id)


async def test_a_crash_between_giving_up_and_deleting_is_made_good(scene: Scene) -> None:
    class Crashing(DiskBlobStore):
        broken = True

        @override
        async def delete(self, digest: str, *, unless_put_since: datetime | None = None) -> None:
            if self.broken:
                raise Unavailable("the store is away")
            await super().delete(digest, unless_put_since=unless_put_since)

    crashing = Crashing(scene.store.path("0" * 64).parents[1])
    collector = ArtifactCollector(scene.work, crashing, Keeping(0, GRACE))
    versions = [await scene.deploy() for _ in range(3)]
    await collector.round()
    scene.time.advance(LATER)
    await collector.round()  # neither blob can be deleted, and the round still ends
    assert len(await scene.stored()) == 3
    old = await fetch(scene.work, Deployment, versions[0].deployment.id)
    with pytest.raises(ArtifactGone):
        async with scene.work.transaction() as tx:
            await artifact_take(tx.session, old.artifact_id)
    crashing.broken = False
    await collector.round()
    assert await scene.stored() == {digest(versions[2])}


async def test_a_blob_that_no_row_tells_of_goes_after_the_grace(
    scene: Scene, tmp_path: Path
) -> None:
    """A builder died before it could say what it had stored, or the database was set back."""
    version = await scene.deploy()
    source = tmp_path / "source"
    source.write_text("nobody's")
    stray = await scene.store.put(source)
    unfinished = tmp_path / "blobs" / ".new-half"
    unfinished.write_text("half")
    await scene.collector.look_through_store()
    await scene.collector.round()
    assert stray.digest in await scene.stored()
    assert unfinished.exists()
    scene.time.advance(LATER)
    await scene.collector.round()
    await scene.collector.look_through_store()
    assert await scene.stored() == {digest(version)}
    assert not unfinished.exists()


async def test_each_artifact_says_why_it_is_kept(scene: Scene) -> None:
    for _ in range(KEPT + 1):
        await scene.deploy()
    rolling = await add_version(scene.work, scene.site)
    await finish_build(scene.work, rolling)
    await scene.conveyor.settle()
    await scene.collector.round()
    async with scene.work.database.read() as session:
        found = await artifacts_page(session, project_id=None, keep=KEPT, before=None, limit=10)
    said = [list(each.reasons) for each in found]
    assert said == [["rolling_out"], ["running", "recent"], ["recent"], []]
    assert [each.unused_since is None for each in found] == [True, True, True, False]
