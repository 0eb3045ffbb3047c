"""Fetching one commit with real git: the exact one, no more than allowed, no secret told."""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from consumers.builds import clone_url, submodules
from consumers.builds.failures import CommitGone
from consumers.builds.git import Git
from consumers.builds.source import Facts, Limits
from consumers.builds.transcript import Transcript
from tests.support.builds import GitRepository, Lines
from zeitwork.errors import SourceUnavailable

LOGIN = "Basic " + base64.b64encode(b"ann:p@ss/word").decode()


class Checkout:
    """A directory to fetch into, and what was said meanwhile."""

    def __init__(self, root: Path) -> None:
        self.tree = root / "source"
        self.tree.mkdir(parents=True)
        self.lines = Lines()
        self.settings = root / "gitconfig"

    async def fetch(
        self, url: str, sha: str, *, limits: Limits | None = None, timeout_seconds: float = 45
    ) -> Facts:
        chosen = limits or Limits()
        git = Git(
            self.tree,
            settings=self.settings,
            most_file_bytes=chosen.total_bytes,
            timeout_seconds=timeout_seconds,
        )
        transcript = Transcript(self.lines)
        remote = clone_url.parse(url)
        try:
            return await submodules.fetch(
                remote, sha, git=git, limits=chosen, transcript=transcript
            )
        finally:
            git.forget()

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.tree)): path.read_text()
            for path in self.tree.rglob("*")
            if path.is_file() and ".git" not in path.parts
        }


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "repository")


class Quiet(SimpleHTTPRequestHandler):
    """Files of a directory: git's old protocol, which serves neither shallow nor by SHA."""

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def plain_server(directory: Path, *, login: str | None, seen: list[str | None]) -> Any:
    """Serves files, to whoever sends `login`; `seen` gets each request's credentials."""

    class Server(Quiet):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, directory=str(directory), **options)

        @override
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            if login is not None and seen[-1] != login:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            super().do_GET()

    return Server


def published(repository: GitRepository) -> Path:
    """A bare copy below a directory that a file server can serve."""
    bare = repository.path.with_name("public") / "shop.git"
    repository.git("clone", "--quiet", "--bare", str(repository.path), str(bare))
    repository.git("--git-dir", str(bare), "update-server-info")
    return bare.parent


async def test_the_exact_commit_is_fetched_and_not_the_tip(
    checkout: Checkout, repository: GitRepository
) -> None:
    wanted = repository.commit({"a/b.txt": "wanted"})
    repository.commit({"a/b.txt": "newer", "c.txt": "newer"})
    facts = await checkout.fetch(repository.url, wanted)
    assert checkout.files() == {"a/b.txt": "wanted"}
    assert facts == Facts(files=1, size=6)


async def test_a_commit_that_no_branch_holds_any_more_is_still_fetched(
    checkout: Checkout, repository: GitRepository
) -> None:
    repository.commit({"a.txt": "first"})
    rewritten = repository.commit({"a.txt": "pushed, then rewritten"})
    repository.git("reset", "--quiet", "--hard", "HEAD~1")
    await checkout.fetch(repository.url, rewritten)
    assert checkout.files() == {"a.txt": "pushed, then rewritten"}


async def test_a_commit_that_is_gone_is_named(
    checkout: Checkout, repository: GitRepository
) -> None:
    repository.commit({"a.txt": "first"})
    gone = repository.commit({"a.txt": "second"})
    repository.git("reset", "--quiet", "--hard", "HEAD~1")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "--quiet", "--prune=now")
    with pytest.raises(CommitGone, match=f"has no commit {gone}: the branch was rewritten"):
        await checkout.fetch(repository.url, gone)


@pytest.mark.parametrize(
    "sha", ["main", "HEAD", "", "abc123", "A" * 40, "--upload-pack=x" + "a" * 25]
)
async def test_anything_but_a_full_sha_is_refused(
    checkout: Checkout, repository: GitRepository, sha: str
) -> None:
    repository.commit({"a.txt": "x"})
    with pytest.raises(SourceUnavailable, match="not a full commit SHA"):
        await checkout.fetch(repository.url, sha)


async def test_a_tag_is_no_commit(checkout: Checkout, repository: GitRepository) -> None:
    repository.commit({"a.txt": "x"})
    repository.git("-c", "user.name=T", "-c", "user.email=t@e.invalid", "tag", "-am", "x", "v1")
    with pytest.raises(SourceUnavailable, match="is not a commit"):
        await checkout.fetch(repository.url, repository.git("rev-parse", "v1"))


async def test_a_repository_that_is_not_there_is_explained(
    checkout: Checkout, tmp_path: Path
) -> None:
    with pytest.raises(SourceUnavailable, match="may Zeitwork read it"):
        await checkout.fetch((tmp_path / "nothing").as_uri(), "a" * 40)


async def test_a_server_without_shallow_fetches_gives_everything(
    checkout: Checkout, repository: GitRepository
) -> None:
    wanted = repository.commit({"a.txt": "wanted"})
    repository.commit({"a.txt": "newer"})
    handler = plain_server(published(repository), login=None, seen=[])
    with serving(handler) as address:
        await checkout.fetch(f"http://{address}/shop.git", wanted)
        assert checkout.files() == {"a.txt": "wanted"}
        with pytest.raises(SourceUnavailable, match="has no commit"):
            await Checkout(checkout.tree.parent / "again").fetch(
                f"http://{address}/shop.git", "b" * 40
            )


async def test_credentials_open_a_private_repository_and_are_forgotten(
    checkout: Checkout, repository: GitRepository
) -> None:
    sha = repository.commit({"a.txt": "private"})
    handler = plain_server(published(repository), login=LOGIN, seen=[])
    with serving(handler) as address:
        await checkout.fetch(f"http://ann:p%40ss%2Fword@{address}/shop.git", sha)
    assert checkout.files() == {"a.txt": "private"}
    kept = [path for path in checkout.tree.parent.rglob("*") if path.is_file()]
    assert not any(b"p%40ss" in path.read_bytes() for path in kept)
    assert not any("ann" in line for line in checkout.lines)


async def test_wrong_credentials_are_not_repeated(
    checkout: Checkout, repository: GitRepository
) -> None:
    sha = repository.commit({"a.txt": "private"})
    handler = plain_server(published(repository), login=LOGIN, seen=[])
    with serving(handler) as address, pytest.raises(SourceUnavailable) as caught:
        await checkout.fetch(f"http://ann:s3cret@{address}/shop.git", sha)
    assert "may Zeitwork read it" in caught.value.message
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize("asks", [None, LOGIN])
async def test_credentials_do_not_follow_a_redirect(
    checkout: Checkout, repository: GitRepository, asks: str | None
) -> None:
    sha = repository.commit({"a.txt": "x"})
    seen: list[str | None] = []
    with serving(plain_server(published(repository), login=asks, seen=seen)) as other:

        class Redirect(Quiet):
            @override
            def do_GET(self) -> None:
                self.send_response(302)
                self.send_header("Location", f"http://{other}{self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()

        with serving(Redirect) as address:
            url = f"http://ann:p%40ss%2Fword@{address}/shop.git"
            if asks is None:
                await checkout.fetch(url, sha)
            else:
                with pytest.raises(SourceUnavailable, match="may Zeitwork read it"):
                    await checkout.fetch(url, sha)
    assert set(seen) == {None}


async def test_a_server_that_says_nothing_is_not_waited_for(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"git://127.0.0.1:{server.getsockname()[1]}/shop.git"
        with pytest.raises(SourceUnavailable, match=r"did not deliver the commit within 0\.5 s"):
            await checkout.fetch(url, "a" * 40, timeout_seconds=0.5)


async def test_a_tree_of_billions_of_files_is_refused_before_checkout(
    checkout: Checkout, repository: GitRepository
) -> None:
    entry = "100644 blob " + repository.git("hash-object", "-w", "--stdin", text="x")
    for _ in range(10):
        listing = "".join(f"{entry}\t{number}\n" for number in range(10))
        entry = "040000 tree " + repository.git("mktree", text=listing)
    identity = ("-c", "user.name=T", "-c", "user.email=t@e.invalid")
    sha = repository.git(*identity, "commit-tree", entry.split()[2], "-m", "bomb")
    repository.git("update-ref", "refs/heads/main", sha)
    with pytest.raises(SourceUnavailable, match="more than 5000 files"):
        await checkout.fetch(repository.url, sha, limits=Limits(files=5000))
    assert checkout.files() == {}


async def test_files_that_unpack_to_too_much_are_refused_before_checkout(
    checkout: Checkout, repository: GitRepository
) -> None:
    sha = repository.commit({f"{number}.bin": "0" * 1024**2 for number in range(4)})
    with pytest.raises(SourceUnavailable, match="larger than 3 MiB"):
        await checkout.fetch(repository.url, sha, limits=Limits(total_bytes=3 * 1024**2))
    assert checkout.files() == {}


async def test_a_download_that_is_too_large_is_stopped(
    checkout: Checkout, repository: GitRepository
) -> None:
    (repository.path / "noise.bin").write_bytes(os.urandom(4 * 1024**2))
    sha = repository.commit({})
    with pytest.raises(SourceUnavailable, match="larger than 1 MiB"):
        await checkout.fetch(repository.url, sha, limits=Limits(total_bytes=1024**2))


async def test_a_path_without_end_is_refused_before_checkout(
    checkout: Checkout, repository: GitRepository
) -> None:
    entry = "100644 blob " + repository.git("hash-object", "-w", "--stdin", text="x")
    for _ in range(12):
        entry = "040000 tree " + repository.git("mktree", text=f"{entry}\t{'d' * 200}\n")
    identity = ("-c", "user.name=T", "-c", "user.email=t@e.invalid")
    sha = repository.git(*identity, "commit-tree", entry.split()[2], "-m", "deep")
    repository.git("update-ref", "refs/heads/main", sha)
    with pytest.raises(SourceUnavailable, match="path longer than 2048 bytes"):
        await checkout.fetch(repository.url, sha)
