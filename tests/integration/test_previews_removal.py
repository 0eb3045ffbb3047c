"""Nothing is left of a preview: no instance, route, artifact or row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from consumers.builds.collector import ArtifactCollector, Keeping
from db.models import (
    Artifact,
    Instance,
    PullRequest,
    RoutingCache,
)
from db.session import UnitOfWork
from events.event import decode
from events.previews import ForkPolicy
from events.routes import RouteRemoved
from events.states import DeploymentState
from tests.support.factories import (
    MovableClock,
    add_node,
    events_of,
    every,
    sha,
)
from tests.support.previews import Stage, counts
from zeitwork import clock

DAY = 86_400.0


@pytest.fixture
def time() -> Iterator[MovableClock]:
    with clock.using(MovableClock()) as movable:
        yield movable


@pytest.fixture
async def stage(work: UnitOfWork, tmp_path: Path, time: MovableClock) -> Stage:
    await add_node(work)
    return await Stage.make(work, tmp_path)


async def test_nothing_is_left_of_a_closed_pull_request(
    stage: Stage, time: MovableClock, tmp_path: Path
) -> None:
    before = await counts(stage.work)
    await stage.hear("opened")
    (first,) = await stage.deployments()
    await stage.serve(first)
    await stage.hear("synchronize", head_sha=sha(2))
    _, second = await stage.deployments()
    await stage.serve(second)
    await stage.hear("synchronize", head_sha=sha(3))  # still builds when all of it ends
    artifacts = await every(stage.work, Artifact)
    await put_blobs(stage, tmp_path, artifacts)
    (environment,) = await stage.environments()

    await stage.hear("closed", head_sha=sha(3))
    states = [each.state for each in await stage.deployments()]
    assert states == [
        DeploymentState.SUPERSEDED,
        DeploymentState.STOPPED,
        DeploymentState.CANCELLED,
    ]
    (left,) = await every(stage.work, RoutingCache)
    assert left.host == stage.site.environment.host
    await stage.reconcile()
    assert len(await stage.environments()) == 1  # its instances have not stopped yet
    await stage.stop_all()
    await stage.reconcile()
    assert await stage.environments() == []
    assert await stage.previews() == []
    assert await every(stage.work, Instance) == []
    assert {each.digest for each in await every(stage.work, Artifact)} == {
        each.digest for each in artifacts
    }
    collector = ArtifactCollector(stage.work, stage.blobs)
    await collector.round()
    time.advance(Keeping().grace.total_seconds() + 60)
    await collector.round()
    assert await counts(stage.work) == before
    assert [each for each in (tmp_path / "blobs").rglob("*") if each.is_file()] == []
    removed = {said.host for said in await removals(stage)}
    assert removed == {environment.host, first.host, second.host}


async def test_one_of_which_nothing_is_heard_ends_and_stays_ended(
    stage: Stage, time: MovableClock
) -> None:
    await stage.configure(preview_max_age_days=2)
    await stage.hear("opened")
    time.advance(1.5 * DAY)
    await stage.hear("synchronize", head_sha=sha(2))
    time.advance(1.5 * DAY)
    await stage.reconcile()
    assert len(await stage.previews()) == 1
    time.advance(DAY)
    for _ in range(3):
        await stage.reconcile()
    assert await stage.previews() == []
    assert await stage.environments() == []
    (pull,) = await every(stage.work, PullRequest)
    assert pull.open
    # News bring it back.
    await stage.hear("synchronize", head_sha=sha(3))
    assert len(await stage.environments()) == 1


async def test_one_that_is_opened_again_while_it_ends_is_deployed_once_it_has_ended(
    stage: Stage,
) -> None:
    await stage.hear("opened")
    (deployment,) = await stage.deployments()
    await stage.serve(deployment)
    host = (await stage.environments())[0].host
    (before,) = await every(stage.work, RoutingCache, host=host)
    await stage.hear("closed")
    delivery = await stage.hear("reopened")
    assert delivery.reason == "the preview before it is still being taken down"
    await stage.stop_all()
    await stage.reconcile()
    (again,) = await stage.deployments()
    assert again.id != deployment.id
    (row,) = await every(stage.work, RoutingCache, host=host)
    # Proxies remember the version of a host that is gone, and take only what is newer.
    removed = max(said.version for said in await removals(stage) if said.host == host)
    assert before.version < removed < row.version


async def test_the_end_of_a_branch_ends_the_pull_request_of_it_but_not_a_forks(
    stage: Stage,
) -> None:
    await stage.configure(preview_forks=ForkPolicy.ALLOW)
    await stage.hear("opened", number=1)
    await stage.hear("opened", number=2, head_repo="mallory/shop")
    await stage.push(ref="refs/heads/feature/x", after="0" * 40, before=sha(1), deleted=True)
    await stage.reconcile()
    (left,) = await stage.previews()
    assert left.pull_number == 2
    await stage.reconcile()
    assert len(await stage.previews()) == 1


async def put_blobs(stage: Stage, directory: Path, artifacts: Sequence[Artifact]) -> list[Path]:
    """Files at the digests that the rows name, as old as the artifacts are."""
    found = []
    for artifact in artifacts:
        path = stage.blobs.path(artifact.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        found.append(path)
    return found


async def removals(stage: Stage) -> list[RouteRemoved]:
    rows = await events_of(stage.work.database, type_=RouteRemoved.event_type)
    found = [decode(row.type, row.schema_version, row.payload) for row in rows]
    return [said for said in found if isinstance(said, RouteRemoved)]
