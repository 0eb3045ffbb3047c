"""A repository gets another name or owner while things are on their way; nothing of it is lost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.builds import clone_url
from consumers.builds.logins import GitHubLogins
from consumers.github.reports import Reporter
from consumers.outcomes import Done
from db.models import Build, GitHubInstallation, GitRef, Preview, Project, PullRequest
from db.session import UnitOfWork
from events.envelope import unwrap
from events.states import DeliveryState, PreviewState
from examples.fake_github.server import FakeGitHub
from tests.support.api import Api
from tests.support.factories import Conveyor, add_node, changed, events_of, every, fetch, sha
from tests.support.previews import Stage
from zeitwork import clock
from zeitwork.github.app import GitHubApp


class Moving:
    """A project on `acme/shop`, which is called or owned otherwise when told so."""

    def __init__(self, github: FakeGitHub, app: GitHubApp, stage: Stage) -> None:
        self.github = github
        self.app = app
        self.stage = stage
        self.work = stage.work
        self.repository = github.add_repository("acme/shop")
        self.installation = github.install("acme")
        stage.conveyor = Conveyor(stage.work, github=app, github_web_url=github.url)
        self.pushed_at = clock.now()

    async def prepare(self) -> Moving:
        await self.stage.configure(github_installation_id=self.installation.id)
        await self.github.say_installation(self.installation, "created")
        await self.stage.conveyor.settle()
        async with changed(self.work, GitHubInstallation, self.installation.id) as row:
            row.organisation_id = self.stage.site.organisation_id
        return self

    async def move(self, how: str) -> str:
        """The new name, once everybody has heard of it."""
        changes = self.change(how)
        await self.tell(how, changes)
        return self.repository.full_name.lower()

    def change(self, how: str) -> Any:
        if how == "renamed":
            return self.github.rename(self.repository, "store")
        other = self.github.state.accounts.get("other")
        if other is None:
            self.other = self.github.install("other")
        return self.github.transfer(self.repository, "other")

    async def tell(self, how: str, changes: Any) -> None:
        here = self.installation if how == "renamed" else self.other
        if how == "transferred":
            await self.github.say_installation(here, "created")
        await self.github.say_repository(self.repository, how, installation=here, changes=changes)
        await self.stage.conveyor.settle()

    def about(self, name: str = "acme/shop") -> dict[str, Any]:
        """What every webhook says; by default in the words from before the move."""
        self.pushed_at += timedelta(seconds=1)
        return {
            "github_repo": name,
            "github_repo_id": self.repository.id,
            "github_installation_id": self.installation.id,
            "clone_url": f"{self.github.url}/{name}.git",
        }

    async def push(self, number: int, *, name: str = "acme/shop", **said: Any) -> Any:
        about = self.about(name)
        moment = {"pushed_at": self.pushed_at}
        return await self.stage.push(**{"after": sha(number), **about, **moment, **said})

    async def pull(self, action: str, *, name: str = "acme/shop", **said: Any) -> Any:
        return await self.stage.hear(action, **{**self.about(name), "head_repo": name, **said})

    async def builds(self) -> list[str]:
        return [each.clone_url for each in await every(self.work, Build)]


@pytest.fixture
async def moving(
    github: FakeGitHub, github_app: GitHubApp, api: Api, work: UnitOfWork, tmp_path: Path
) -> Moving:
    github.hooks.url = f"{api.base}/webhooks/github"
    await add_node(work)
    return await Moving(github, github_app, await Stage.make(work, tmp_path)).prepare()


@pytest.mark.parametrize("how", ["renamed", "transferred"])
async def test_a_push_from_before_that_comes_after_is_deployed_and_told(
    moving: Moving, how: str
) -> None:
    await moving.push(1)
    name = await moving.move(how)
    late = await moving.push(2)
    assert (late.state, late.reason) == (DeliveryState.PROCESSED, None)
    url = f"{moving.github.url}/{name}.git"
    assert await moving.builds() == [url, url]  # that of the first one was still to fetch
    logins = GitHubLogins(moving.work, moving.app, web_url=moving.github.url)
    remote = await logins.with_login(clone_url.parse(url), project_id=moving.stage.site.project.id)
    assert remote.login is not None
    reporter = Reporter(moving.work, moving.app, kinds=("statuses",), visit=str)
    for row in await events_of(moving.work.database, type_="deployment.created"):
        assert await reporter.deployment_changed(unwrap(row.headers, row.payload)) == Done()
    assert {each["sha"] for each in moving.repository.statuses} == {sha(1), sha(2)}


@pytest.mark.parametrize("how", ["renamed", "transferred"])
async def test_a_push_under_the_new_name_that_comes_first_is_deployed(
    moving: Moving, how: str
) -> None:
    await moving.push(1)
    changes = moving.change(how)
    name = moving.repository.full_name.lower()
    here = moving.installation.id if how == "renamed" else moving.other.id
    early = await moving.push(2, name=name, github_installation_id=here)
    assert early.state is DeliveryState.PROCESSED
    await moving.tell(how, changes)
    project = await fetch(moving.work, Project, moving.stage.site.project.id)
    assert project.github_repo == name
    # The older one was called off before the move and fetches nothing any more.
    assert (await moving.builds())[-1] == f"{moving.github.url}/{name}.git"
    (ref,) = await every(moving.work, GitRef)
    assert (ref.repository, ref.head) == (name, sha(2))


async def test_an_older_push_is_late_whatever_the_names(moving: Moving) -> None:
    older = moving.pushed_at
    await moving.push(2)
    await moving.move("renamed")
    late = await moving.push(1, pushed_at=older)
    assert (late.state, late.reason) == (DeliveryState.IGNORED, "a newer push of main came first")


async def test_previews_go_on_and_end_under_the_new_name(moving: Moving) -> None:
    await moving.pull("opened")
    name = await moving.move("renamed")
    (pull,) = await every(moving.work, PullRequest)
    (preview,) = await every(moving.work, Preview)
    assert (pull.repository, pull.head_repo, preview.repository) == (name, name, name)
    assert pull.clone_url == f"{moving.github.url}/{name}.git"
    await moving.pull("synchronize", head_sha=sha(2))  # in the old words
    await moving.pull("synchronize", head_sha=sha(3), name=name)
    assert [each.commit_sha for each in await moving.stage.deployments()] == [
        sha(1),
        sha(2),
        sha(3),
    ]
    assert all(each.trusted for each in await moving.stage.deployments())
    # The branch is gone, which ends its pull requests.
    await moving.stage.configure(preview_branches=["feature/**"])
    ref = {"ref": "refs/heads/feature/x", "deleted": True, "before": sha(3)}
    await moving.push(0, name=name, **ref)
    await moving.stage.reconcile()
    assert [each.state for each in await every(moving.work, Preview)] in (
        [],
        [PreviewState.CLOSING],
    )
