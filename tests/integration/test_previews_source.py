"""Previews go when their repository does: taken from the App, deleted, given away, uninstalled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumers.builds.collector import ArtifactCollector, Keeping
from db.models import Artifact, Instance, RoutingCache
from db.session import UnitOfWork
from events.states import PreviewState
from examples.fake_github.server import FakeGitHub
from tests.support.api import Api
from tests.support.factories import Conveyor, MovableClock, add_node, every
from tests.support.previews import Stage, counts
from zeitwork import clock
from zeitwork.github.app import GitHubApp


class Home:
    """A project with an open pull request, on a repository that an installation sees."""

    def __init__(self, github: FakeGitHub, stage: Stage, app: GitHubApp | None) -> None:
        self.github = github
        self.stage = stage
        self.repository = github.add_repository("Acme/Shop")
        self.installation = github.install("Acme")
        stage.conveyor = Conveyor(stage.work, github=app, github_web_url=github.url)

    async def open(self) -> None:
        await self.stage.configure(github_installation_id=self.installation.id)
        await self.github.say_installation(self.installation, "created")
        await self.stage.conveyor.settle()

    async def hear(self, action: str, **changes: Any) -> None:
        here = self.installation.id
        await self.stage.hear(action, github_installation_id=here, **changes)

    async def lose(self, how: str) -> None:
        github, here = self.github, self.installation
        if how == "taken from the installation":
            here.repositories = set()
            await github.say_repositories(here, removed=(self.repository,))
        if how == "deleted":
            del github.state.repositories[self.repository.id]
            await github.say_repository(self.repository, "deleted", installation=here)
        if how == "given away":
            # GitHub tells the account that had it; where it went the App is not installed.
            github.transfer(self.repository, "Other")
            await github.say_repositories(here, removed=(self.repository,))
        if how == "uninstalled":
            github.uninstall(here)
            await github.say_installation(here, "deleted")
        if how == "suspended":
            github.suspend(here)
            await github.say_installation(here, "suspend")
        await self.stage.conveyor.settle()


@pytest.fixture
def time() -> Iterator[MovableClock]:
    with clock.using(MovableClock()) as movable:
        yield movable


@pytest.fixture(params=["asked", "believed"])
async def home(
    request: pytest.FixtureRequest,
    github: FakeGitHub,
    github_app: GitHubApp,
    api: Api,
    work: UnitOfWork,
    tmp_path: Path,
    time: MovableClock,
) -> Home:
    """Once with the App's key, once with nothing but its webhooks."""
    github.hooks.url = f"{api.base}/webhooks/github"
    await add_node(work)
    stage = await Stage.make(work, tmp_path)
    home = Home(github, stage, github_app if request.param == "asked" else None)
    await home.open()
    return home


@pytest.mark.parametrize(
    "how", ["taken from the installation", "deleted", "given away", "uninstalled"]
)
async def test_nothing_is_left_of_a_preview_whose_repository_is_gone(
    home: Home, time: MovableClock, how: str
) -> None:
    stage = home.stage
    before = await counts(stage.work)
    await home.hear("opened")
    (deployment,) = await stage.deployments()
    await stage.serve(deployment)
    await stage.configure(preview_branches=["feature/**"])
    await stage.push(ref="refs/heads/feature/y", github_installation_id=home.installation.id)
    await home.hear("opened", number=43, head_ref="z", head_repo="mallory/shop")
    assert [each.state for each in await stage.previews()] == [
        PreviewState.ACTIVE,
        PreviewState.ACTIVE,
        PreviewState.WAITING,
    ]
    await home.lose(how)
    await stage.reconcile()
    await stage.stop_all()
    await stage.reconcile()
    assert await stage.previews() == []
    assert await stage.environments() == []
    assert await every(stage.work, Instance) == []
    assert {row.host for row in await every(stage.work, RoutingCache)} == {
        stage.site.environment.host
    }
    collector = ArtifactCollector(stage.work, stage.blobs)
    await collector.round()
    time.advance(Keeping().grace.total_seconds() + 60)
    await collector.round()
    assert await every(stage.work, Artifact) == []
    left = await counts(stage.work)
    assert left == before
    # Neither the reconciler nor what comes late brings them back.
    await home.hear("synchronize")
    await stage.reconcile()
    assert await counts(stage.work) == left


async def test_a_suspension_ends_no_preview(home: Home) -> None:
    await home.hear("opened")
    await home.lose("suspended")
    await home.stage.reconcile()
    (preview,) = await home.stage.previews()
    assert preview.state is PreviewState.ACTIVE


async def test_previews_come_back_with_their_repository(home: Home) -> None:
    await home.hear("opened")
    await home.lose("taken from the installation")
    for _ in range(2):
        await home.stage.reconcile()
    assert await home.stage.previews() == []
    home.installation.repositories = {home.repository.id}
    await home.github.say_repositories(home.installation, added=(home.repository,))
    await home.stage.conveyor.settle()
    await home.stage.reconcile()
    (preview,) = await home.stage.previews()
    assert preview.state is PreviewState.ACTIVE
