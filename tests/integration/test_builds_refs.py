"""References are looked up in real repositories, by git itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from consumers.builds.refs import GitRefs
from tests.support.pushes import Repository
from zeitwork.errors import SourceUnavailable


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.commit({"a": "1"})
    return made


def git(repository: Repository, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
    return subprocess.run(
        ["git", "-C", str(repository.path), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


async def test_a_branch_and_its_full_name_are_its_newest_commit(repository: Repository) -> None:
    head = repository.commit({"a": "2"})
    for name in ("main", "refs/heads/main"):
        assert await GitRefs().commit_of(repository.url, name) == head


async def test_an_annotated_tag_is_the_commit_that_it_is_about(repository: Repository) -> None:
    head = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "light")
    git(repository, "tag", "--annotate", "--message", "x", "heavy")
    assert git(repository, "rev-parse", "heavy") != head
    for name in ("light", "heavy", "refs/tags/heavy"):
        assert await GitRefs().commit_of(repository.url, name) == head


async def test_a_branch_comes_before_a_tag_of_its_name(repository: Repository) -> None:
    git(repository, "tag", "both")
    head = repository.commit({"a": "2"})
    git(repository, "branch", "both")
    assert await GitRefs().commit_of(repository.url, "both") == head


async def test_a_name_is_no_pattern_and_not_the_end_of_another(repository: Repository) -> None:
    git(repository, "branch", "feature/main2")
    for name in ("mai", "main2", "m*", "?ain", "HEAD", "main~1", "a..b", "--all", "x" * 300):
        with pytest.raises(SourceUnavailable):
            await GitRefs().commit_of(repository.url, name)


async def test_a_repository_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        await GitRefs().commit_of((tmp_path / "none").as_uri(), "main")
