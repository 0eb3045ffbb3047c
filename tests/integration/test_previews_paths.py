"""Path filters of a monorepo hold for pull requests: GitHub is asked what they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from db.models import Preview, Trigger
from db.session import UnitOfWork
from events.states import PreviewState
from examples.fake_github.server import FakeGitHub
from tests.support.factories import Conveyor, add_node, every, sha
from tests.support.previews import Stage
from zeitwork.github.app import GitHubApp


class Monorepo:
    """A pull request to a repository on which a project lives below `web`."""

    def __init__(self, github: FakeGitHub, app: GitHubApp, stage: Stage) -> None:
        self.github = github
        self.stage = stage
        self.installation = github.install("acme")
        self.repository = github.add_repository("acme/shop")
        self.pull = github.open_pull(self.repository, "feature/x", sha(1))
        stage.conveyor = Conveyor(stage.work, github=app, github_web_url=github.url)

    async def hear(self, action: str = "opened", **changes: Any) -> None:
        await self.stage.hear(
            action,
            github_installation_id=self.installation.id,
            number=self.pull.number,
            **changes,
        )

    async def preview(self) -> Preview:
        (preview,) = await self.stage.previews()
        return preview

    def asked(self) -> int:
        return sum(path.endswith("/files") for _, path in self.github.calls)


@pytest.fixture
async def mono(github: FakeGitHub, github_app: GitHubApp, work: UnitOfWork, tmp_path: Path) -> Any:
    await add_node(work)
    stage = await Stage.make(work, tmp_path, root_directory="web")
    return Monorepo(github, github_app, stage)


async def test_a_pull_request_that_changes_nothing_of_a_project_gets_no_preview_of_it(
    mono: Monorepo,
) -> None:
    mono.pull.files = ["api/main.py", "README.md"]
    await mono.hear()
    assert await mono.stage.deployments() == []
    preview = await mono.preview()
    reason = "none of the 2 changed files matches web/**"
    assert (preview.state, preview.reason) == (PreviewState.WAITING, reason)
    assert [each.reason for each in await every(mono.stage.work, Trigger)] == [reason]
    await mono.stage.reconcile()
    assert await mono.stage.deployments() == []
    # All that it changes counts, not only its newest commit.
    mono.pull.files.append("web/index.html")
    await mono.hear("synchronize", head_sha=sha(2))
    assert [each.commit_sha for each in await mono.stage.deployments()] == [sha(2)]


async def test_another_filter_lets_it_in_without_a_new_commit(mono: Monorepo) -> None:
    mono.pull.files = ["api/main.py"]
    await mono.hear()
    await mono.stage.configure(include_paths=["api/**"])
    await mono.stage.reconcile()
    assert len(await mono.stage.deployments()) == 1


async def test_the_whole_list_is_read(mono: Monorepo) -> None:
    mono.pull.files = [f"api/{number}" for number in range(250)] + ["web/index.html"]
    await mono.hear()
    assert len(await mono.stage.deployments()) == 1
    assert mono.asked() == 3


@pytest.mark.parametrize("case", ["refused", "away", "no answer", "too many"])
async def test_what_is_not_known_is_built(mono: Monorepo, case: str) -> None:
    mono.pull.files = ["api/main.py"]
    if case == "refused":
        mono.github.trouble(403, path="/files", body='{"message": "not accessible"}')
    if case == "away":
        mono.github.trouble(503, path="/files", left=9)
    if case == "no answer":
        mono.github.trouble(200, path="/files", body='{"message": "something else"}')
    if case == "too many":
        mono.pull.files = [f"api/{number}" for number in range(1001)]
    await mono.hear()
    assert len(await mono.stage.deployments()) == 1
    assert mono.asked() >= 1


async def test_without_filters_nobody_is_asked(mono: Monorepo) -> None:
    await mono.stage.configure(root_directory="")
    await mono.hear()
    assert len(await mono.stage.deployments()) == 1
    assert mono.asked() == 0
