"""Fetch one exact commit into a directory; nothing of it is executed or trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass

from consumers.builds.clone_url import Remote
from consumers.builds.failures import CommitGone, SourceTooLarge
from consumers.builds.git import Git
from consumers.builds.tree import MOST_PATH_BYTES
from zeitwork.errors import SourceUnavailable, TimedOut
from zeitwork.logs import masked
from zeitwork.subprocesses import Completed

_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHA256_LENGTH = 64
_FALLBACK_DEPTH = "1000"
_EVERYTHING = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
_ENTRY = re.compile(r"(?P<mode>\d{6}) \w+ (?P<object>[0-9a-f]+) +(?P<size>\d+|-)\t")
_SUBMODULE_MODE = "160000"
# A refusal to serve a commit by its SHA, or that there is none; git's words are the same for both.
_NOT_SERVED = (
    "not our ref", "unadvertised object", "couldn't find remote ref", "remote ref does not exist",
    "does not support shallow", "no such remote ref", "Cannot obtain needed object",
)  # fmt: skip
_NO_ACCESS = (
    "could not read Username", "Authentication failed", "Permission denied", "not found",
    "does not appear to be a git repository", "does not exist", "403",
)  # fmt: skip
_TOO_LARGE = ("signal 25", "File too large", "File size limit exceeded")


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a source may be."""

    files: int = 100_000
    total_bytes: int = 1024**3


@dataclass(frozen=True, slots=True)
class Submodule:
    """A commit of another repository, in the place of a directory."""

    path: str
    sha: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What was checked out; the directories of submodules are there, and empty."""

    files: int
    size: int
    submodules: tuple[Submodule, ...] = ()


class _Inventory:
    """Counts the entries of `git ls-tree -l` and stops at the first that is too much."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.files = 0
        self.size = 0
        self.submodules: list[Submodule] = []

    def add(self, line: str) -> None:
        match = _ENTRY.match(line)
        if match is None:
            raise SourceUnavailable(f"git listed something unexpected: {line[:200]!r}")
        if match["mode"] == _SUBMODULE_MODE:
            self.submodules.append(Submodule(line[match.end() :], match["object"]))
            return
        if len(line) - match.end() > MOST_PATH_BYTES:
            raise SourceUnavailable(f"The commit holds a path longer than {MOST_PATH_BYTES} bytes.")
        self.files += 1
        self.size += int(match["size"])
        if self.files > self._limits.files:
            raise SourceTooLarge(
                f"The commit holds more than {self._limits.files} files. Take out of the "
                "repository what the build does not need."
            )
        if self.size > self._limits.total_bytes:
            raise SourceTooLarge(_too_large(self._limits))


def check_sha(commit_sha: str) -> None:
    """Accept a full SHA-1 or SHA-256 in lower-case hex.

    Raises:
        SourceUnavailable: it is anything else.
    """
    if not _SHA.fullmatch(commit_sha):
        raise SourceUnavailable(f"{commit_sha[:80]!r} is not a full commit SHA.")


async def fetch(remote: Remote, commit_sha: str, *, git: Git, limits: Limits) -> Facts:
    """Put the files of the commit into `git.tree`, an existing empty directory.

    Sizes are looked up before anything is checked out: a few kilobytes of objects can describe
    terabytes of files.

    Raises:
        SourceUnavailable: there is no such commit, no access, or too much of it.
    """
    check_sha(commit_sha)
    try:
        await git.prepare(remote)
        await _download(remote, commit_sha, git, limits)
        inventory = _Inventory(limits)
        done = await git.run(
            "ls-tree", "-r", "-l", "--full-tree", commit_sha, on_line=inventory.add
        )
        _require(done, "list the files of the commit", limits)
        done = await git.run("checkout", "--quiet", "--force", "--detach", commit_sha)
        _require(done, "check the commit out", limits)
    except TimedOut as error:
        raise SourceUnavailable(
            f"{remote.address} did not deliver the commit within {git.timeout_seconds:g} s."
        ) from error
    head = (git.tree / ".git" / "HEAD").read_text().strip()
    if head != commit_sha:
        raise SourceUnavailable(f"{commit_sha} is not a commit; it leads to {head[:64]}.")
    return Facts(inventory.files, inventory.size, tuple(inventory.submodules))


async def _download(remote: Remote, commit_sha: str, git: Git, limits: Limits) -> None:
    kind = "sha256" if len(commit_sha) == _SHA256_LENGTH else "sha1"
    done = await git.run("init", "--quiet", "--template=", f"--object-format={kind}", ".")
    _require(done, "prepare a directory", limits)
    fetch = ("fetch", "--quiet", "--no-tags")
    done = await git.run(*fetch, "--depth", "1", "--", remote.address, commit_sha)
    if done.returncode == 0 or not _says(done, _NOT_SERVED):
        _require(done, f"fetch from {remote.address}", limits)
        return
    # The server gives out branches and tags only; the commit is likely among the newer ones.
    done = await git.run(*fetch, "--depth", _FALLBACK_DEPTH, "--", remote.address, *_EVERYTHING)
    if _says(done, ("does not support shallow",)):
        done = await git.run(*fetch, "--", remote.address, *_EVERYTHING)
    _require(done, f"fetch from {remote.address}", limits)
    done = await git.run("cat-file", "-e", f"{commit_sha}^{{commit}}")
    if done.returncode != 0:
        raise CommitGone(
            f"{remote.address} has no commit {commit_sha}: the branch was rewritten or removed. "
            "Push again, or deploy a commit that is there."
        )


def _require(done: Completed, purpose: str, limits: Limits) -> None:
    if done.returncode == 0:
        return
    if _says(done, _TOO_LARGE):
        raise SourceTooLarge(_too_large(limits))
    # In one line: the message becomes the last one of the build's log.
    said = " ".join(masked(done.output).split())[-500:] or f"exit code {done.returncode}"
    hint = ""
    if _says(done, _NO_ACCESS):
        hint = " Does the repository exist, and may Zeitwork read it?"
    raise SourceUnavailable(f"git could not {purpose}: {said}.{hint}")


def _says(done: Completed, phrases: tuple[str, ...]) -> bool:
    return done.returncode != 0 and any(phrase in done.output for phrase in phrases)


def _too_large(limits: Limits) -> str:
    return (
        f"The commit is larger than {limits.total_bytes // 1024**2} MiB. Take out of the "
        "repository what the build does not need."
    )
