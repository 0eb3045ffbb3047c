"""Webhooks that did not reach us are found and asked for, and take effect once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.github.redeliveries import Redeliverer
from db.models import Deployment, GitHubDeliveryScan, GitHubRedelivery, WebhookDelivery
from db.session import UnitOfWork
from events.memory import MemoryBus
from examples.fake_github.server import FakeGitHub
from examples.fake_github.state import Delivery
from tests.support.api import Api, dependencies, serving
from tests.support.database import execute
from tests.support.eventually import eventually
from tests.support.factories import Conveyor, MovableClock, add_site, every, sha
from tests.support.servers import free_port
from zeitwork import clock
from zeitwork.github.app import GitHubApp

WINDOW = timedelta(hours=72)


class Post:
    """GitHub, whose webhooks meet trouble, and the search for them."""

    def __init__(self, github: FakeGitHub, app: GitHubApp, work: UnitOfWork) -> None:
        self.github = github
        github.api.leeway = 30 * 24 * 3600  # tests put the App's clock forward
        self.work = work
        self.shop = github.add_repository("acme/shop")
        self.installation = github.install("acme")
        self.search = Redeliverer(work, app, window=WINDOW)
        self.nowhere = f"http://127.0.0.1:{free_port()}/"

    async def push(self, number: int = 1) -> Delivery:
        return await self.github.say_push(self.shop, sha(number), installation=self.installation)

    async def round(self) -> None:
        """One round, and the attempts that GitHub makes because of it."""
        await self.search.round()
        await asyncio.gather(*self.github.api.sending)

    def requests(self) -> int:
        return sum(path.endswith("/attempts") for _, path in self.github.calls)

    async def deployments(self) -> int:
        await Conveyor(self.work).settle()
        return len(await every(self.work, Deployment))


@pytest.fixture
def post(github: FakeGitHub, github_app: GitHubApp, work: UnitOfWork) -> Post:
    return Post(github, github_app, work)


async def test_a_push_that_met_a_full_outbox_is_deployed_once_it_has_room(
    post: Post, bus: MemoryBus, tmp_path: Path, migrated_url: str, traces: None
) -> None:
    await add_site(post.work)
    deps = dependencies(post.work, bus, tmp_path, api={"outbox_max_rows": 1})
    await deps.outbox.look()
    async with serving(deps) as api:
        post.github.hooks.url = f"{api.base}/webhooks/github"
        assert (await post.push()).status_code == 503
        assert await every(post.work, WebhookDelivery) == []
        execute(migrated_url, "DELETE FROM outbox")  # the relay's work
        await deps.outbox.look()
        await post.round()
        for _ in range(3):
            await post.round()
    assert [each.status_code for each in post.github.state.deliveries] == [503, 202]
    assert len({each.guid for each in post.github.state.deliveries}) == 1
    assert await post.deployments() == 1
    assert await every(post.work, GitHubRedelivery) == []


async def test_pushes_that_met_nobody_are_deployed_once_each(post: Post, api: Api) -> None:
    await add_site(post.work)
    post.github.hooks.url = post.nowhere
    for number in (1, 2, 3):
        assert (await post.push(number)).status_code == 502
    await post.round()
    assert post.requests() == 3
    assert len(await every(post.work, GitHubRedelivery)) == 3
    post.github.hooks.url = f"{api.base}/webhooks/github"
    with clock.using(MovableClock()) as time:
        for _ in range(4):
            time.advance(300)
            await post.round()
    assert await post.deployments() == 3
    assert post.requests() == 6
    assert await every(post.work, GitHubRedelivery) == []


async def test_a_delivery_that_arrived_although_github_does_not_know_is_left_alone(
    post: Post, api: Api
) -> None:
    post.github.hooks.url = f"{api.base}/webhooks/github"
    (await post.push()).status_code = 504  # the answer came too late
    await post.round()
    assert post.requests() == 0
    assert await every(post.work, GitHubRedelivery) == []


async def test_one_that_never_arrives_is_given_up_after_some_requests(post: Post) -> None:
    post.github.hooks.url = post.nowhere
    await post.push()
    with clock.using(MovableClock()) as time:
        for _ in range(12):
            await post.round()
            time.advance(3 * 3600)
    assert post.requests() == 6
    (row,) = await every(post.work, GitHubRedelivery)
    assert (row.asked, row.next_at) == (6, None)


async def test_what_github_has_forgotten_is_forgotten(post: Post) -> None:
    post.github.hooks.url = post.nowhere
    await post.push()
    await post.search.round()
    post.github.state.deliveries.clear()
    with clock.using(MovableClock()) as time:
        time.advance(3600)
        await post.round()
        time.advance(WINDOW.total_seconds())
        await post.round()
    assert await every(post.work, GitHubRedelivery) == []


async def test_a_list_too_long_for_one_round_is_read_to_its_end(post: Post, api: Api) -> None:
    await add_site(post.work)
    post.github.hooks.url = post.nowhere
    await post.push()
    for number in range(1150):
        fine = Delivery(post.github.state.new_id(), f"fine-{number}", "ping", {}, redelivery=False)
        fine.status_code = 202
        post.github.state.deliveries.append(fine)
    post.github.hooks.url = f"{api.base}/webhooks/github"
    await post.round()
    (scan,) = await every(post.work, GitHubDeliveryScan)
    assert scan.cursor is not None
    assert post.requests() == 0
    await post.round()
    (scan,) = await every(post.work, GitHubDeliveryScan)
    assert scan.cursor is None
    assert await post.deployments() == 1
    read = len(post.github.calls)
    await post.round()
    assert len(post.github.calls) - read <= 12


async def test_while_github_is_away_nothing_is_lost(post: Post, api: Api) -> None:
    await add_site(post.work)
    post.github.hooks.url = post.nowhere
    await post.push()
    post.github.hooks.url = f"{api.base}/webhooks/github"
    post.github.trouble(503, left=3)
    await post.round()
    assert await every(post.work, GitHubRedelivery) == []
    post.github.trouble(0, path="/attempts", done=False)
    await post.round()
    with clock.using(MovableClock()) as time:
        time.advance(600)
        await post.round()

    async def deployed() -> bool:
        return await post.deployments() == 1

    await eventually(deployed)


async def test_two_that_search_at_once_ask_once(post: Post, github_app: GitHubApp) -> None:
    """The lease may change hands in the middle of a round."""
    post.github.hooks.url = post.nowhere
    await post.push()
    other: Any = Redeliverer(post.work, github_app, window=WINDOW)
    await asyncio.gather(post.search.round(), other.round())
    await asyncio.gather(*post.github.api.sending)
    assert post.requests() == 1
