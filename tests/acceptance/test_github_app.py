"""The GitHub App as its user meets it: a push, a pull request, and what GitHub shows of them."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.builds import GitRepository
from tests.support.eventually import eventually
from tests.support.github_process import GitHubProcess, github_process
from tests.support.platform import running
from tests.support.pushes import visit
from tests.support.servers import free_port
from zeitwork.github.app import GitHubApp, Scope, configured

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("platform")]


class Watcher:
    """Reads what is on GitHub, by its API and as the App."""

    def __init__(self, app: GitHubApp, installation: str) -> None:
        self.app = app
        self.scope = Scope(int(installation))

    async def read(self, path: str) -> Any:
        reply = await self.app.as_installation(self.scope, "GET", f"/repos/acme/shop{path}")
        return reply.content

    async def status(self, sha: str) -> tuple[str, str] | None:
        found = await self.read(f"/commits/{sha}/statuses")
        return (found[0]["context"], found[0]["state"]) if found else None

    async def deployment(self, sha: str) -> str | None:
        """The state of the commit's deployment."""
        made = [each for each in await self.read("/deployments") if each["sha"] == sha]
        found = await self.read(f"/deployments/{made[0]['id']}/statuses") if made else []
        return found[0]["state"] if found else None

    async def comments(self) -> list[str]:
        return [each["body"] for each in await self.read("/issues/1/comments")]


@pytest.fixture
def shop(tmp_path: Path) -> GitRepository:
    repository = GitRepository(tmp_path / "shop")
    repository.commit({"index.html": "one"})
    return repository


@pytest.fixture
async def app(request: pytest.FixtureRequest) -> AsyncIterator[list[GitHubApp]]:
    """Filled by the test, which knows where GitHub is; stopped in the end."""
    started: list[GitHubApp] = []
    yield started
    for each in started:
        await each.stop()


async def watch(github: GitHubProcess, started: list[GitHubApp]) -> Watcher:
    app = configured(github.settings)
    assert app is not None
    await app.start()
    started.append(app)
    return Watcher(app, github.installation)


async def test_a_push_and_a_pull_request_go_live_and_github_shows_it(
    shop: GitRepository, app: list[GitHubApp], tmp_path: Path
) -> None:
    port = free_port()
    with github_process(shop.path, key=tmp_path / "app.pem", api_port=port) as github:
        assert "does Zeitwork run" in github.type("", until="main")
        env = {**github.env, "ZEITWORK_API__PORT": str(port)}
        with running(tmp_path / "data", **env) as platform:
            here = ("--installation", github.installation)
            made = platform.run("projects", "create", "shop", "--repo", "acme/shop", *here)
            assert made.code == 0, made.err
            assert platform.run("projects", "change", "shop", "--previews").code == 0
            watcher = await watch(github, app)

            sha = shop.git("rev-parse", "main")
            assert f"main {sha[:12]}: 202" in github.type("", until="main")
            await eventually(lambda: _serves(platform.proxy_url, "shop", "one"), timeout=60)
            want = ("zeitwork/shop/production", "success")
            await eventually(lambda: _is(watcher.status(sha), want), timeout=60)
            await eventually(lambda: _is(watcher.deployment(sha), "success"), timeout=60)

            shop.git("checkout", "-q", "-b", "feature")
            new = shop.commit({"index.html": "two"})
            assert "#1 opened" in github.type("open feature", until="#1")
            await eventually(lambda: _serves(platform.proxy_url, "shop-pr-1", "two"), timeout=60)
            assert visit(platform.proxy_url, "shop.localhost").body == "one"
            want = ("zeitwork/shop/pr-1", "success")
            await eventually(lambda: _is(watcher.status(new), want), timeout=60)
            await eventually(lambda: _says(watcher, "| shop | **Ready** |"), timeout=60)
            (comment,) = await watcher.comments()
            deployments = json.loads(
                platform.run("deployments", "list", "--project", "shop", "--json").out
            )
            (preview,) = [each for each in deployments if each["commit_sha"] == new]
            assert f"[{preview['url']}]({preview['url']})" in comment
            assert f"[`{new[:7]}`]({preview['commit_url']})" in comment
            assert f"`zeitwork logs {preview['id']}`" in comment

            assert "#1 closed" in github.type("close 1", until="#1 closed")
            await eventually(lambda: _says(watcher, "| shop | Removed |"), timeout=60)
            assert len(await watcher.comments()) == 1
            assert platform.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_fake_says_what_it_knows_and_ends_when_told(
    shop: GitRepository, tmp_path: Path, number: signal.Signals
) -> None:
    key = tmp_path / "app.pem"
    with github_process(shop.path, key=key, api_port=free_port()) as github:
        assert key.stat().st_mode & 0o777 == 0o600
        assert "update NUMBER" in github.type("help", until="With several")
        assert "no git repository with a commit" in github.type("open nowhere", until="nowhere")
        assert "no pull request 7" in github.type("close 7", until="pull request 7")
        assert github.end(number) == 0


async def _serves(proxy_url: str, label: str, body: str) -> bool:
    answer = visit(proxy_url, f"{label}.localhost")
    return (answer.status, answer.body) == (200, body)


async def _is(found: Any, wanted: object) -> bool:
    return bool(await found == wanted)


async def _says(watcher: Watcher, line: str) -> bool:
    return any(line in each for each in await watcher.comments())
