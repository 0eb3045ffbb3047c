"""A private repository is cloned with the installation's token, which nobody else ever sees."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from consumers.builds import clone_url
from consumers.builds.logins import GitHubLogins
from consumers.builds.pipeline import BuildRequest, Pipeline
from consumers.builds.refs import GitRefs
from db.models import EventLog, GitHubInstallation
from db.queries.github_app import InstallationFacts, installation_put, moment
from db.session import UnitOfWork
from events.states import InstallationState
from examples.fake_github.server import FakeGitHub
from examples.fake_github.state import Installation
from tests.support.builds import GitRepository
from tests.support.eventually import eventually
from tests.support.factories import Site, add_site, changed, every
from zeitwork.blobs import DiskBlobStore
from zeitwork.errors import SourceUnavailable
from zeitwork.github.app import GitHubApp
from zeitwork.service import spawn

# What a build could look at, were anything left lying about; its lines come into the log.
SNOOP = """
from setuptools import setup
import os, subprocess
print("environment", dict(os.environ))
print(subprocess.run("cat .git/config ../gitconfig ../.git-credentials ~/.git-credentials;"
                     "for i in /proc/[0-9]*/fd/*; do cat $i; done", shell=True,
                     stdin=subprocess.DEVNULL, capture_output=True, timeout=5))
setup(name="x", version="0")
"""


class Shop:
    """A private repository on GitHub, a project on it, and a pipeline that has the App's logins."""

    def __init__(
        self, github: FakeGitHub, app: GitHubApp, work: UnitOfWork, directory: Path
    ) -> None:
        self.github = github
        self.work = work
        self.git = GitRepository(directory / "shop")
        self.sha = self.git.commit({"index.html": "hello"})
        self.repository = github.add_repository("acme/shop", path=self.git.path)
        self.installation: Installation = github.install("acme")
        self.url = f"{github.url}/acme/shop.git"
        self.lines: list[str] = []
        self.root = directory
        self.logins = GitHubLogins(work, app, web_url=github.url)
        self.pipeline = Pipeline(
            blobs=DiskBlobStore(directory / "blobs"),
            work_dir=directory / "builds",
            cache_dir=directory / "cache",
            sandbox="off",
            timeout_seconds=45.0,
            memory_mib=1024,
            logins=self.logins,
        )

    async def site(self, state: InstallationState = InstallationState.ACTIVE) -> Site:
        async with self.work.transaction() as tx:
            at = await moment(tx.session)
            facts = InstallationFacts(self.installation.id, "acme", "User", "all", state, at)
            await installation_put(tx.session, facts)
        return await add_site(
            self.work, github_repo="acme/shop", github_installation_id=self.installation.id
        )

    async def build(self, project_id: str | None) -> None:
        request = BuildRequest("bld-1", self.url, self.sha, "", project_id=project_id)
        await self.pipeline.build(request, lambda text, _stream: self.lines.append(text))

    def tokens(self) -> list[str]:
        return list(self.github.state.tokens)


@pytest.fixture
def shop(github: FakeGitHub, github_app: GitHubApp, work: UnitOfWork, tmp_path: Path) -> Shop:
    return Shop(github, github_app, work, tmp_path)


def _tree() -> Iterator[psutil.Process]:
    yield from psutil.Process().children(recursive=True)


def logins_in_memory(pid: int) -> list[str]:
    """What git's logins lie in, as far as the process holds it."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found.append(str(descriptor.readlink()))
    return [each for each in found if "memfd:login" in each]


async def test_a_private_repository_is_built_and_the_token_can_only_read_it(shop: Shop) -> None:
    site = await shop.site()
    await shop.build(site.project.id)
    (token,) = shop.github.state.tokens.values()
    assert token.permissions == {"contents": "read"}
    assert token.repositories == {shop.repository.id}
    row = (await every(shop.work, GitHubInstallation))[0]
    assert row.organisation_id == site.organisation_id


async def test_without_a_login_it_cannot_be_fetched(shop: Shop) -> None:
    with pytest.raises(SourceUnavailable, match="may Zeitwork read it"):
        await shop.build(None)
    assert shop.tokens() == []


async def test_the_token_is_nowhere_while_git_runs(shop: Shop) -> None:
    """Not in an argument, an environment, or a file, of any process at work."""
    site = await shop.site()
    shop.github.held = asyncio.Event()
    building = spawn(shop.build(site.project.id), "build")

    async def fetching() -> list[psutil.Process]:
        found = [each for each in _tree() if "git-remote-http" in " ".join(each.cmdline())]
        return found if shop.tokens() else []

    (token,) = (await eventually(fetching) and shop.tokens()) or [""]
    looked_at = 0
    for process in _tree():
        for name in ("cmdline", "environ"):
            said = Path(f"/proc/{process.pid}/{name}").read_bytes()
            assert token.encode() not in said, (process.pid, name)
            looked_at += bool(said)
    assert looked_at >= 4
    for path in shop.root.rglob("*"):
        if path.is_file() and stat.S_ISREG(path.stat().st_mode):
            assert token.encode() not in path.read_bytes(), path
    assert any(logins_in_memory(process.pid) for process in _tree())
    shop.github.held.set()
    await building


async def test_the_token_is_gone_when_the_build_begins(shop: Shop) -> None:
    site = await shop.site()
    shop.sha = shop.git.commit(
        {"main.py": "", "setup.py": SNOOP, "requirements.txt": ".", "Procfile": "web: true"}
    )
    with capture_logs() as logged:
        try:
            await shop.build(site.project.id)
        except Exception as error:  # noqa: BLE001 - however the build ends, it may tell nothing
            shop.lines.append(repr(error))
    said = "\n".join([*shop.lines, *(repr(each) for each in logged)])
    (token,) = shop.tokens()
    assert "environment" in said or "setup.py" in said, said
    assert token not in said
    assert token not in said.encode().hex()
    for path in shop.root.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path
    for row in await every(shop.work, EventLog):
        assert token not in repr(row.headers)
        assert token.encode() not in row.payload
    assert not logins_in_memory(os.getpid())


async def test_a_fetch_that_fails_lets_go_of_the_token_and_does_not_tell_it(shop: Shop) -> None:
    site = await shop.site()
    shop.sha = "f" * 40
    with pytest.raises(SourceUnavailable) as caught:
        await shop.build(site.project.id)
    (token,) = shop.tokens()
    assert token not in str(caught.value) + "".join(shop.lines)
    assert not logins_in_memory(os.getpid())


async def test_a_branch_of_a_private_repository_is_looked_up_with_a_token(shop: Shop) -> None:
    site = await shop.site()
    refs = GitRefs(shop.logins)
    assert await refs.commit_of(shop.url, "main", project_id=site.project.id) == shop.sha
    assert len(shop.tokens()) == 1
    assert not logins_in_memory(os.getpid())
    with pytest.raises(SourceUnavailable):
        await refs.commit_of(shop.url, "main")


@pytest.mark.parametrize(
    "address", ["https://example.org/acme/shop.git", "{}/acme/other.git", "{}"]
)
async def test_no_token_is_asked_for_another_address(shop: Shop, address: str) -> None:
    site = await shop.site()
    remote = clone_url.Remote(address.format(shop.github.url))
    assert await shop.logins.with_login(remote, project_id=site.project.id) == remote
    assert shop.tokens() == []


async def test_an_installation_of_another_organisation_opens_nothing(shop: Shop) -> None:
    site = await shop.site()
    stranger = await add_site(shop.work, github_repo="acme/shop")
    async with changed(shop.work, GitHubInstallation, shop.installation.id) as row:
        row.organisation_id = stranger.organisation_id
    with pytest.raises(SourceUnavailable, match="belongs to another organisation"):
        await shop.build(site.project.id)
    assert shop.tokens() == []


async def test_a_suspended_installation_is_said_so(shop: Shop) -> None:
    site = await shop.site(InstallationState.SUSPENDED)
    with pytest.raises(SourceUnavailable, match="installation on acme is suspended"):
        await shop.build(site.project.id)


async def test_a_repository_that_was_taken_from_the_installation_is_said_so(shop: Shop) -> None:
    site = await shop.site()
    shop.installation.repositories = {0}
    with pytest.raises(SourceUnavailable, match="may not read acme/shop"):
        await shop.build(site.project.id)
