"""Asks a repository what its branches and tags name, without fetching anything of it."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from consumers.builds import clone_url as addresses
from consumers.builds.git import Git
from consumers.builds.logins import Logins, NoLogins
from zeitwork.errors import SourceUnavailable

_MOST_FILE_BYTES = 16 * 1024 * 1024
_TIMEOUT_SECONDS = 30.0  # half of what the durable gives one handling
_LINE = re.compile(r"(?P<sha>[0-9a-f]{40}|[0-9a-f]{64})\t(?P<ref>refs/\S+)")
# No glob, no revision syntax and no option: `ls-remote` takes patterns.
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/@+#-]*")
_PEELED = "^{}"  # the commit that an annotated tag is about


class GitRefs:
    """`git ls-remote` in a directory of its own."""

    def __init__(self, logins: Logins | None = None) -> None:
        self._logins = logins or NoLogins()

    async def commit_of(self, clone_url: str, ref: str, *, project_id: str | None = None) -> str:
        """The commit that a branch, a tag or a full reference names now; a branch comes first.

        Raises:
            SourceUnavailable: there is none, or no access.
            GitHubUnavailable: GitHub cannot be asked for a login now.
            TimedOut: the repository does not answer in time.
        """
        names = candidates(ref)
        remote = await self._logins.with_login(addresses.parse(clone_url), project_id=project_id)
        with tempfile.TemporaryDirectory(prefix="zeitwork-refs-") as name:
            directory = Path(name)
            tree = directory / "tree"
            await asyncio.to_thread(tree.mkdir)
            git = Git(tree, directory / "gitconfig", _MOST_FILE_BYTES, _TIMEOUT_SECONDS)
            patterns = [each for name in names for each in (name, name + _PEELED)]
            try:
                await git.prepare(remote)
                done = await git.run("ls-remote", "--", remote.address, *patterns)
            finally:
                git.forget()
        if done.returncode != 0:
            raise SourceUnavailable(
                f"The branches and tags of {remote.address} cannot be read: "
                "check the address and the access."
            )
        found = chosen(names, done.output)
        if found is None:
            raise SourceUnavailable(f"{remote.address} has no branch or tag {ref!r}.")
        return found


def candidates(ref: str) -> tuple[str, ...]:
    """The full references that a name may stand for, the preferred one first.

    Raises:
        SourceUnavailable: it is no name that git would take.
    """
    if not _REF.fullmatch(ref) or ".." in ref or ref.endswith((".lock", "/", ".")):
        raise SourceUnavailable(f"{ref[:200]!r} is not the name of a branch or tag.")
    return (ref,) if ref.startswith("refs/") else (f"refs/heads/{ref}", f"refs/tags/{ref}")


def chosen(names: Sequence[str], listed: str) -> str | None:
    """The commit of the first name in the output of `git ls-remote`."""
    commits: Mapping[str, str] = {
        match["ref"]: match["sha"]
        for line in listed.splitlines()
        if (match := _LINE.fullmatch(line.strip())) is not None
    }
    for name in names:
        if name in commits:
            return commits.get(name + _PEELED, commits[name])
    return None
