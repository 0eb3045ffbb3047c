"""Submodules with real git: fetched as they are recorded, never with more rights than they need."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from consumers.builds import submodules
from consumers.builds.failures import SourceTooLarge, SubmoduleUnavailable
from consumers.builds.source import Facts, Limits
from tests.integration.test_builds_source import (
    LOGIN,
    Checkout,
    plain_server,
    published,
    serving,
)
from tests.support.builds import GitRepository, Workbench


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "repository")


@pytest.fixture
def theme(tmp_path: Path) -> GitRepository:
    """Another repository, to be a submodule."""
    theme = GitRepository(tmp_path / "theme")
    theme.commit({"theme.css": "a {}"})
    return theme


def add(repository: GitRepository, path: str, url: str, sha: str) -> str:
    """Record a submodule as `git submodule add` does; the commit."""
    config = partial(repository.git, "config", "--file", ".gitmodules")
    config(f"submodule.{path}.path", path)
    config(f"submodule.{path}.url", url)
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{sha},{path}")
    (repository.path / path).mkdir(parents=True, exist_ok=True)
    repository.git("add", ".gitmodules")
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")
    repository.git(*identity, "commit", "--quiet", "--message", "Add a submodule")
    return repository.git("rev-parse", "HEAD")


async def test_a_build_has_the_files_of_the_commit_that_is_recorded(
    repository: GitRepository, theme: GitRepository, tmp_path: Path
) -> None:
    recorded = theme.git("rev-parse", "HEAD")
    theme.commit({"theme.css": "b {}"})
    repository.commit({"index.html": "hello"})
    sha = add(repository, "public/theme", "../theme", recorded)
    bench = Workbench(tmp_path / "data")
    result = await bench.build(bench.pipeline(), repository.url, sha)
    assert result.manifest.builder == "static"
    assert f"Submodule public/theme from {theme.url}" in bench.log


async def test_submodules_of_submodules_come_along_and_no_history_stays(
    checkout: Checkout, repository: GitRepository, theme: GitRepository, tmp_path: Path
) -> None:
    icons = GitRepository(tmp_path / "icons")
    drawn = icons.commit({"icon.svg": "<svg/>"})
    repository.commit({"index.html": "hello"})
    sha = add(repository, "theme", theme.url, add(theme, "icons", "../icons", drawn))
    facts = await checkout.fetch(repository.url, sha)
    files = checkout.files()
    assert files.keys() == {
        "index.html", ".gitmodules", "theme/theme.css", "theme/.gitmodules", "theme/icons/icon.svg",
    }  # fmt: skip
    assert facts == Facts(len(files), sum(len(text) for text in files.values()))
    assert [path for path in checkout.tree.rglob(".git") if path.parent != checkout.tree] == []


@pytest.mark.parametrize(
    ("url", "sha", "said"),
    [
        ("../missing", None, r"git could not fetch .* Make it readable"),
        ("../theme", "b" * 40, "has no commit b{40}.* Make it readable"),
        (
            "ssh://git@127.0.0.1/theme",
            None,
            r"is not fetched for this repository\. Give it an http",
        ),
        ("git@127.0.0.1:theme.git", None, "is not fetched for this repository"),
        ("ext::sh -c touch% /tmp/x", None, "blanks, quotes"),
        ("--upload-pack=touch", None, "is not an address to clone from"),
    ],
)
async def test_what_cannot_be_fetched_is_named_with_what_to_do(
    checkout: Checkout, repository: GitRepository, theme: GitRepository,
    url: str, sha: str | None, said: str,
) -> None:  # fmt: skip
    head = add(repository, "lib/theme", url, sha or theme.git("rev-parse", "HEAD"))
    with pytest.raises(SubmoduleUnavailable) as caught:
        await checkout.fetch(repository.url, head)
    assert caught.value.message.startswith("The submodule lib/theme")
    assert re.search(said, caught.value.message), caught.value.message


async def test_a_submodule_gets_none_of_the_repositorys_credentials(
    checkout: Checkout, repository: GitRepository, theme: GitRepository, tmp_path: Path
) -> None:
    served = published(theme)  # …/public/shop.git, as the file server shows it
    seen: list[str | None] = []
    with serving(plain_server(served, login=LOGIN, seen=seen)) as host:
        repository.path.joinpath("index.html").touch()
        head = add(repository, "theme", f"http://{host}/shop.git", theme.git("rev-parse", "HEAD"))
        other = tmp_path / "other"
        other.mkdir()
        repository.git("clone", "--quiet", "--bare", str(repository.path), str(other / "shop.git"))
        repository.git("--git-dir", str(other / "shop.git"), "update-server-info")
        asked: list[str | None] = []
        with (
            serving(plain_server(other, login=LOGIN, seen=asked)) as above,
            pytest.raises(SubmoduleUnavailable, match="without credentials"),
        ):
            await checkout.fetch(f"http://ann:p%40ss%2Fword@{above}/shop.git", head)
    assert LOGIN in asked
    assert set(seen) == {None}


async def test_a_repository_from_elsewhere_does_not_reach_this_machines_files(
    checkout: Checkout, repository: GitRepository, theme: GitRepository
) -> None:
    head = add(repository, "theme", theme.url, theme.git("rev-parse", "HEAD"))
    with (
        serving(plain_server(published(repository), login=None, seen=[])) as host,
        pytest.raises(SubmoduleUnavailable, match=r"is not fetched for this repository"),
    ):
        await checkout.fetch(f"http://{host}/shop.git", head)


async def test_a_directory_without_an_address_is_left_out_and_said_so(
    checkout: Checkout, repository: GitRepository, theme: GitRepository
) -> None:
    repository.git(
        "update-index", "--add", "--cacheinfo", f"160000,{theme.git('rev-parse', 'HEAD')},x"
    )
    (repository.path / "x").mkdir()
    sha = repository.commit({"index.html": "hello"})
    await checkout.fetch(repository.url, sha)
    assert checkout.files().keys() == {"index.html"}
    assert any("Submodule x has no address" in line for line in checkout.lines)


async def test_the_limits_hold_for_all_together(
    checkout: Checkout, repository: GitRepository, theme: GitRepository
) -> None:
    theme.commit({f"{number}.css": "x" * 100 for number in range(20)})
    repository.commit({f"{number}.html": "x" * 100 for number in range(20)})
    sha = add(repository, "theme", "../theme", theme.git("rev-parse", "HEAD"))
    with pytest.raises(SourceTooLarge):
        await checkout.fetch(repository.url, sha, limits=Limits(files=30))


async def test_submodules_without_end_are_refused(
    checkout: Checkout, repository: GitRepository, theme: GitRepository
) -> None:
    head = theme.git("rev-parse", "HEAD")
    for depth in range(submodules._MOST_DEPTH + 1):  # each holds the one before it
        head = add(theme, f"d{depth}", theme.url, head)
    sha = add(repository, "theme", theme.url, head)
    with pytest.raises(SubmoduleUnavailable, match="nested deeper"):
        await checkout.fetch(repository.url, sha)
