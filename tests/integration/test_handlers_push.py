"""A stored push becomes deployments with their builds, or is ignored with a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from consumers.outcomes import Done, Drop
from db.models import Build, Deployment, Trigger, WebhookDelivery
from db.session import UnitOfWork
from events.builds import BuildRequested
from events.deployments import DeploymentCreated
from events.states import BuildState, DeliveryState, DeploymentState, TriggerState
from tests.support.factories import (
    Conveyor,
    add_push,
    add_site,
    every,
    fetch,
    push,
    sha,
)
from zeitwork import clock, ids


async def pushed(work: UnitOfWork, **changes: Any) -> WebhookDelivery:
    """A push, taken; its delivery's row."""
    said = await add_push(work, **changes)
    await Conveyor(work).settle()
    delivery: WebhookDelivery = await fetch(work, WebhookDelivery, said.subject)
    return delivery


async def test_a_push_becomes_a_queued_deployment_and_its_build(work: UnitOfWork) -> None:
    site = await add_site(work, root_directory="web")
    said = await add_push(work, after=sha(7), commit_message="a\x00b", pusher="ann")
    seen = await Conveyor(work).settle()
    (deployment,) = await every(work, Deployment)
    (build,) = await every(work, Build)
    assert deployment.environment_id == site.environment.id
    assert (deployment.number, deployment.state) == (1, DeploymentState.QUEUED)
    assert (deployment.commit_sha, deployment.actor) == (sha(7), "ann")
    assert deployment.commit_message == "a\N{REPLACEMENT CHARACTER}b"
    assert deployment.deadline_at is not None
    assert (build.state, build.deployment_id) == (BuildState.QUEUED, deployment.id)
    assert (build.commit_sha, build.root_directory) == (sha(7), "web")
    assert build.clone_url == "https://github.com/acme/shop.git"
    delivery = await fetch(work, WebhookDelivery, said.subject)
    assert (delivery.state, delivery.reason) == (DeliveryState.PROCESSED, None)
    assert delivery.finished_at is not None
    created, requested = (
        next(one for one in seen if isinstance(one.data, type_))
        for type_ in (DeploymentCreated, BuildRequested)
    )
    assert created.causation_id == said.id
    assert requested.causation_id == created.id
    assert {created.correlation_id, requested.correlation_id, deployment.correlation_id} == {
        said.correlation_id
    }


async def test_a_project_with_its_own_address_is_cloned_from_there(work: UnitOfWork) -> None:
    await add_site(work, clone_url="file:///srv/shop.git")
    await pushed(work)
    (build,) = await every(work, Build)
    assert build.clone_url == "file:///srv/shop.git"


async def test_the_repository_is_found_in_any_case(work: UnitOfWork) -> None:
    await add_site(work, github_repo="Acme/Shop")
    assert (await pushed(work, github_repo="aCME/sHOP")).state is DeliveryState.PROCESSED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"github_repo": "acme/other"}, "no project uses the repository acme/other"),
        (
            {"ref": "refs/heads/dev"},
            "branch dev is not deployed (the environment follows main)",
        ),
        (
            {"ref": "refs/tags/main"},
            "tags are deployed by hand (zeitwork deploy PROJECT --ref main)",
        ),
        ({"deleted": True, "after": "0" * 40}, "the push deletes the branch main"),
    ],
)
async def test_what_deploys_nothing_is_ignored_with_the_reason(
    work: UnitOfWork, changes: dict[str, Any], reason: str
) -> None:
    await add_site(work)
    delivery = await pushed(work, **changes)
    assert (delivery.state, delivery.reason) == (DeliveryState.IGNORED, reason)
    assert delivery.finished_at is not None
    assert await every(work, Deployment) == []
    assert await every(work, Build) == []


async def test_every_project_of_a_monorepo_deploys_its_part(work: UnitOfWork) -> None:
    web = await add_site(work, root_directory="web")
    api = await add_site(work, root_directory="api", organisation_id=web.organisation_id)
    stranger = await add_site(work, root_directory="docs")
    await add_site(work, default_branch="stable")
    assert (await pushed(work)).state is DeliveryState.PROCESSED
    builds = await every(work, Build)
    assert {
        (build.organisation_id, build.project_id, build.root_directory) for build in builds
    } == {
        (site.organisation_id, site.project.id, root)
        for site, root in ((web, "web"), (api, "api"), (stranger, "docs"))
    }


@pytest.mark.parametrize(
    ("project", "delivered", "deploys"),
    [(5, 5, True), (5, 6, False), (5, None, False), (None, 6, True), (None, None, True)],
)
async def test_a_project_takes_pushes_of_its_installation(
    work: UnitOfWork, project: int | None, delivered: int | None, *, deploys: bool
) -> None:
    await add_site(work, github_installation_id=project)
    delivery = await pushed(work, github_installation_id=delivered)
    assert (delivery.state is DeliveryState.PROCESSED) == deploys
    assert len(await every(work, Deployment)) == int(deploys)
    if delivered is not None and not deploys:
        assert delivery.reason is not None
        assert delivery.reason.endswith(f"through the installation {delivered}")


async def test_pushes_number_the_deployments_of_an_environment(work: UnitOfWork) -> None:
    one, other = await add_site(work), await add_site(work, github_repo="acme/other")
    for number in (1, 2, 3):
        await pushed(work, after=sha(number))
    await pushed(work, github_repo="acme/other")
    mine = await every(work, Deployment, environment_id=one.environment.id)
    assert sorted((row.number, row.commit_sha) for row in mine) == [
        (number, sha(number)) for number in (1, 2, 3)
    ]
    (theirs,) = await every(work, Deployment, environment_id=other.environment.id)
    assert theirs.number == 1


async def test_a_finished_delivery_is_not_taken_again(work: UnitOfWork) -> None:
    await add_site(work)
    delivery = await pushed(work)
    again = push(delivery.id, after=sha(9))  # a new event, which the inbox does not know
    assert await Conveyor(work).deliver(again) == [Done()]
    assert len(await every(work, Deployment)) == 1


async def test_a_push_without_a_delivery_is_dropped(work: UnitOfWork) -> None:
    await add_site(work)
    unknown = push(ids.new(ids.Prefix.DELIVERY))
    assert await Conveyor(work).deliver(unknown) == [Drop("unknown delivery")]
    assert await every(work, Deployment) == []


async def arrived(work: UnitOfWork, *said: Any) -> None:
    """Deliver stored pushes in this order."""
    conveyor = Conveyor(work)
    await conveyor.fresh()
    for one in said:
        await conveyor.deliver(one)


@pytest.mark.parametrize("seconds", [1, 0, None])
async def test_an_older_push_that_comes_late_is_not_deployed(
    work: UnitOfWork, seconds: int | None
) -> None:
    """By the sender's clock, or by the chain of commits where that does not tell."""
    await add_site(work)
    at = clock.now()
    times = [None, None] if seconds is None else [at, at + timedelta(seconds=seconds)]
    older = await add_push(work, before=sha(1), after=sha(2), pushed_at=times[0])
    newer = await add_push(work, before=sha(2), after=sha(3), pushed_at=times[1])
    await arrived(work, newer, older)
    (deployment,) = await every(work, Deployment)
    assert deployment.commit_sha == sha(3)
    late = await fetch(work, WebhookDelivery, older.subject)
    assert (late.state, late.reason) == (
        DeliveryState.IGNORED,
        "a newer push of main came first",
    )


async def test_a_branch_that_is_forced_back_deploys_the_commit_again(work: UnitOfWork) -> None:
    await add_site(work)
    for before, after in ((1, 2), (2, 1), (1, 2)):
        await pushed(work, before=sha(before), after=sha(after))
    found = await every(work, Deployment)
    assert [row.commit_sha for row in found] == [sha(2), sha(1), sha(2)]


async def test_what_a_project_is_not_made_of_deploys_it_not(work: UnitOfWork) -> None:
    web = await add_site(work, root_directory="web")
    await add_site(work, root_directory="api")
    await add_site(work, exclude_paths=["**/*.md", "web/**"])
    delivery = await pushed(work, files=("web/index.html", "README.md"))
    (deployment,) = await every(work, Deployment)
    assert deployment.project_id == web.project.id
    assert delivery.state is DeliveryState.PROCESSED
    said = {
        (row.project_id == web.project.id, row.state, row.reason, row.delivery_id)
        for row in await every(work, Trigger)
    }
    assert said == {
        (True, TriggerState.DEPLOYED, None, delivery.id),
        (
            False,
            TriggerState.SKIPPED,
            "none of the 2 changed files matches api/**",
            delivery.id,
        ),
        (False, TriggerState.SKIPPED, "all 2 changed files match the excluded paths", delivery.id),
    }
