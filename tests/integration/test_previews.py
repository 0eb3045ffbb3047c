"""Pull requests get previews, keep them up to date, and take everything along when they close."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from db.models import (
    RoutingCache,
    Trigger,
)
from db.session import UnitOfWork
from events.previews import ForkPolicy, PreviewApproved
from events.states import DeliveryState, PreviewState, TriggerState
from tests.support.factories import (
    MovableClock,
    add_node,
    add_push,
    add_site,
    changed,
    envelope,
    every,
    sha,
)
from tests.support.previews import Stage, add_pull, counts
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


async def test_a_pull_request_serves_at_a_host_of_its_own_and_one_of_its_commit(
    stage: Stage,
) -> None:
    delivery = await stage.hear("opened")
    assert (delivery.state, delivery.reason) == (DeliveryState.PROCESSED, None)
    (deployment,) = await stage.deployments()
    assert (deployment.commit_sha, deployment.ref) == (sha(1), "refs/pull/42/head")
    assert deployment.trusted
    (environment,) = await stage.environments()
    assert (environment.name, environment.kind) == ("pr-42", "preview")
    slug = stage.site.project.slug
    assert environment.host == f"{slug}-pr-42.test"
    await stage.serve(deployment)
    rows = {row.host: row for row in await every(stage.work, RoutingCache) if row.targets}
    assert rows.keys() == {environment.host, deployment.host}
    assert deployment.host is not None
    assert deployment.host.startswith(f"{slug}-00000000-")


async def test_the_next_commit_takes_the_host_and_the_one_before_loses_its_own(
    stage: Stage,
) -> None:
    await stage.hear("opened")
    (first,) = await stage.deployments()
    await stage.serve(first)
    await stage.hear("synchronize", head_sha=sha(2))
    _, second = await stage.deployments()
    await stage.serve(second)
    (environment,) = await stage.environments()
    rows = {row.host: row for row in await every(stage.work, RoutingCache) if row.targets}
    assert rows.keys() == {environment.host, second.host}
    assert {row.deployment_id for row in rows.values()} == {second.id}


async def test_what_was_said_before_the_end_and_comes_after_it_opens_nothing(
    stage: Stage,
) -> None:
    opened = await add_pull(stage.work, "opened")
    closed = await add_pull(stage.work, "closed")
    late = await stage.conveyor.fresh()
    assert [said.id for said in late][-2:] == [opened.id, closed.id]
    await stage.conveyor.deliver(closed)
    await stage.conveyor.deliver(opened)
    await stage.conveyor.settle()
    assert await stage.previews() == []
    assert await stage.deployments() == []
    await stage.reconcile()
    assert await stage.previews() == []


async def test_an_older_commit_that_comes_late_is_not_deployed(stage: Stage) -> None:
    await stage.hear("opened")
    older = await add_pull(stage.work, "synchronize", head_sha=sha(2))
    newer = await add_pull(stage.work, "synchronize", head_sha=sha(3))
    await stage.conveyor.fresh()
    for said in (newer, older, newer):
        await stage.conveyor.deliver(said)
    await stage.conveyor.settle()
    assert [each.commit_sha for each in await stage.deployments()] == [sha(1), sha(3)]


async def test_a_fork_waits_for_the_approval_of_each_commit(stage: Stage) -> None:
    fork = {"head_repo": "mallory/shop"}
    delivery = await stage.hear("opened", **fork)
    assert delivery.state is DeliveryState.IGNORED
    assert delivery.reason == "a commit from a fork has to be approved"
    assert await stage.environments() == []
    await approve(stage)
    (deployment,) = await stage.deployments()
    assert not deployment.trusted
    await stage.hear("synchronize", head_sha=sha(2), **fork)
    assert len(await stage.deployments()) == 1
    (preview,) = await stage.previews()
    assert (preview.state, preview.reason) == (
        PreviewState.ACTIVE,
        "a commit from a fork has to be approved",
    )


async def test_a_fork_whose_repository_is_gone_is_a_fork(stage: Stage) -> None:
    await stage.hear("opened", head_repo=None)
    assert await stage.deployments() == []


@pytest.mark.parametrize(
    ("policy", "trusted"), [(ForkPolicy.ALLOW, False), (ForkPolicy.TRUST, True)]
)
async def test_a_project_may_let_forks_in(
    stage: Stage, policy: ForkPolicy, *, trusted: bool
) -> None:
    await stage.configure(preview_forks=policy)
    await stage.hear("opened", head_repo="mallory/shop")
    (deployment,) = await stage.deployments()
    assert deployment.trusted is trusted


async def test_the_newest_waits_at_the_limit_and_the_oldest_that_waits_comes_first(
    stage: Stage,
) -> None:
    await stage.configure(preview_limit=1)
    for number in (1, 2, 3):
        await stage.hear("opened", number=number, head_ref=f"b{number}", head_sha=sha(number))
    assert [each.state for each in await stage.previews()] == [
        PreviewState.ACTIVE,
        PreviewState.WAITING,
        PreviewState.WAITING,
    ]
    await stage.hear("closed", number=1, head_ref="b1")
    await stage.reconcile()
    await stage.reconcile()
    found = {each.pull_number: each.state for each in await stage.previews()}
    assert found == {2: PreviewState.ACTIVE, 3: PreviewState.WAITING}


async def test_drafts_wait_until_they_are_ready(stage: Stage) -> None:
    await stage.hear("opened", draft=True)
    assert await stage.deployments() == []
    await stage.hear("ready_for_review")
    assert len(await stage.deployments()) == 1
    await stage.hear("converted_to_draft", draft=True)
    await stage.hear("synchronize", draft=True, head_sha=sha(2))
    assert len(await stage.deployments()) == 1
    assert len(await stage.environments()) == 1


async def test_switching_previews_on_finds_what_is_open_and_off_ends_them(
    stage: Stage, time: MovableClock
) -> None:
    await stage.configure(previews_enabled=False)
    await stage.hear("opened")
    assert await stage.previews() == []
    await stage.configure(previews_enabled=True)
    await stage.reconcile()
    (preview,) = await stage.previews()
    assert preview.state is PreviewState.ACTIVE
    await stage.configure(previews_enabled=False)
    time.advance(60)
    for _ in range(2):
        await stage.reconcile()
    assert await stage.previews() == []


async def test_a_branch_gets_a_preview_by_pattern_and_loses_it_with_the_branch(
    stage: Stage,
) -> None:
    await stage.configure(preview_branches=["feature/**"])
    delivery = await stage.push(ref="refs/heads/feature/x", after=sha(5))
    assert delivery.state is DeliveryState.PROCESSED
    (deployment,) = await stage.deployments()
    assert (deployment.commit_sha, deployment.ref) == (sha(5), "refs/heads/feature/x")
    await stage.push(ref="refs/heads/feature/x", after="0" * 40, before=sha(5), deleted=True)
    await stage.reconcile()
    assert await stage.previews() == []
    assert await stage.environments() == []


async def test_a_push_that_comes_after_the_deletion_of_its_branch_makes_no_preview(
    stage: Stage,
) -> None:
    await stage.configure(preview_branches=["feature/**"])
    ref = "refs/heads/feature/x"
    now = clock.now()
    pushed = await add_push(stage.work, ref=ref, before=None, after=sha(5), pushed_at=now)
    deleted = await add_push(
        stage.work,
        ref=ref,
        before=sha(5),
        after="0" * 40,
        deleted=True,
        pushed_at=now + timedelta(seconds=1),
    )
    await stage.conveyor.fresh()
    await stage.conveyor.deliver(deleted)
    await stage.conveyor.deliver(pushed)
    await stage.conveyor.settle()
    assert await stage.previews() == []
    assert await stage.deployments() == []


async def test_each_project_of_a_repository_decides_for_itself(
    stage: Stage, work: UnitOfWork, tmp_path: Path
) -> None:
    other = await Stage.make(work, tmp_path)
    await other.configure(previews_enabled=False)
    await stage.hear("opened")
    (preview,) = await stage.previews()
    assert preview.project_id == stage.site.project.id


async def test_a_host_that_somebody_has_is_not_taken(stage: Stage, work: UnitOfWork) -> None:
    slug = stage.site.project.slug
    await add_site(work, f"{slug}-pr-42", github_repo="acme/other")
    await stage.hear("opened")
    (environment,) = [each for each in await stage.environments() if each.kind == "preview"]
    assert environment.host.startswith(f"{slug}-pr-42-")


async def test_the_project_says_what_became_of_each_pull_request(stage: Stage) -> None:
    await stage.hear("opened", head_repo="mallory/shop")
    await approve(stage)
    found = [(each.state, each.reason) for each in await every(stage.work, Trigger)]
    assert found == [
        (TriggerState.SKIPPED, "a commit from a fork has to be approved"),
        (TriggerState.DEPLOYED, None),
    ]


async def test_rounds_that_change_nothing_write_nothing(stage: Stage) -> None:
    await stage.configure(preview_limit=1)
    for number in (1, 2):
        await stage.hear("opened", number=number, head_ref=f"b{number}")
    before = await counts(stage.work)
    versions = [each.version for each in await stage.previews()]
    await stage.reconcile()
    await stage.reconcile()
    assert await counts(stage.work) == before
    assert [each.version for each in await stage.previews()] == versions


async def approve(stage: Stage) -> None:
    """As the API does."""
    (preview,) = await stage.previews()
    async with changed(stage.work, type(preview), preview.id) as row:
        row.approved_sha = row.head_sha
    said = PreviewApproved(preview_id=preview.id, commit_sha=preview.head_sha)
    await stage.conveyor.deliver(envelope(said, subject=preview.id))
    await stage.conveyor.settle()
