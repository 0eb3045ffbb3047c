"""A commit with its submodules, each fetched as any other commit is: exact, bounded, not trusted.

git's own `submodule update` would run with one address list for all, follow what .gitmodules says
about commands, and offer the credentials of the repository to whatever it names.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from consumers.builds import clone_url, source
from consumers.builds.clone_url import Remote
from consumers.builds.failures import SourceTooLarge, SubmoduleUnavailable
from consumers.builds.git import Git
from consumers.builds.source import Facts, Limits, Submodule
from consumers.builds.transcript import Transcript
from zeitwork.errors import SourceUnavailable

_MOST_DEPTH = 4
_MOST_SUBMODULES = 50
_SETTING = re.compile(r"submodule\.(?P<name>.+?)\.(?P<key>path|url) (?P<value>.*)")
_SHORT = re.compile(r"[\w.-]+@(?P<host>[\w.-]+):(?P<path>.+)")


@dataclass(frozen=True, slots=True)
class _Checkout:
    """A repository whose submodules are still to be fetched.

    Attributes:
        name: its path from the top of the first, for people.
        depth: how many repositories it is below the first.
    """

    remote: Remote
    git: Git
    facts: Facts
    name: str = ""
    depth: int = 0


async def fetch(
    remote: Remote, commit_sha: str, *, git: Git, limits: Limits, transcript: Transcript
) -> Facts:
    """`source.fetch`, and the same for each submodule below; the limits hold for all together.

    Raises:
        SourceUnavailable: there is no such commit, no access, or too much of it.
        SubmoduleUnavailable: the same of a submodule.
    """
    first = await source.fetch(remote, commit_sha, git=git, limits=limits)
    files, size = first.files, first.size
    pending = [_Checkout(remote, git, first)]
    done: list[_Checkout] = []
    while pending:
        above = pending.pop()
        addresses = await _addresses(above.git) if above.facts.submodules else {}
        for submodule in above.facts.submodules:
            name = str(PurePosixPath(above.name, submodule.path))[:200]
            if submodule.path not in addresses:
                transcript.say(f"Submodule {name} has no address in .gitmodules: left out")
                continue
            if len(done) >= _MOST_SUBMODULES or above.depth >= _MOST_DEPTH:
                raise SubmoduleUnavailable(
                    f"There are more than {_MOST_SUBMODULES} submodules, or they are nested deeper "
                    f"than {_MOST_DEPTH}. Remove some."
                )
            origin = _remote(above.remote, addresses[submodule.path], name)
            transcript.say(f"Submodule {name} from {origin.address}")
            rest = Limits(limits.files - files, limits.total_bytes - size)
            below = await _fetch(above, submodule, origin, name=name, limits=rest)
            files, size = files + below.facts.files, size + below.facts.size
            pending.append(below)
            done.append(below)
    for checkout in done:
        await asyncio.to_thread(shutil.rmtree, checkout.git.tree / ".git")
    return Facts(files, size)


async def _fetch(
    above: _Checkout, submodule: Submodule, origin: Remote, *, name: str, limits: Limits
) -> _Checkout:
    git = _git_below(above.git, submodule)
    try:
        facts = await source.fetch(origin, submodule.sha, git=git, limits=limits)
    except SourceTooLarge:
        raise
    except SourceUnavailable as error:
        raise SubmoduleUnavailable(
            f"The submodule {name} could not be fetched: {error.message} Make it readable without "
            "credentials, or put its files into the repository."
        ) from error
    return _Checkout(origin, git, facts, name, above.depth + 1)


async def _addresses(git: Git) -> Mapping[str, str]:
    """Addresses by path, from the .gitmodules of the commit: the file may be a link."""
    wanted = r"^submodule\..*\.(path|url)$"
    done = await git.run("config", "--blob", "HEAD:.gitmodules", "--get-regexp", wanted)
    named: dict[str, dict[str, str]] = {}
    for line in done.output.splitlines() if done.returncode == 0 else []:
        if match := _SETTING.fullmatch(line):
            named.setdefault(match["name"], {})[match["key"]] = match["value"]
    complete = [each for each in named.values() if {"path", "url"} <= each.keys()]
    return {each["path"].rstrip("/"): each["url"] for each in complete}


def _remote(parent: Remote, url: str, name: str) -> Remote:
    """Where to fetch from, never with more rights than the repository above it had.

    Raises:
        SubmoduleUnavailable: it is no address, or one that only the machine itself may use.
    """
    address = _absolute(parent.address, url)
    scheme = urlsplit(parent.address).scheme
    host = urlsplit(parent.address).hostname
    short = _SHORT.fullmatch(address)
    if short and scheme == "https" and short["host"] == host:
        address = f"https://{host}/{short['path'].lstrip('/')}"  # readable without a key, perhaps
    try:
        remote = clone_url.parse(address)
    except SourceUnavailable as error:
        raise SubmoduleUnavailable(f"The submodule {name}: {error.message}") from error
    wanted = urlsplit(remote.address).scheme
    if wanted in {"http", "https"} or wanted == scheme:
        return Remote(remote.address)
    raise SubmoduleUnavailable(
        f"The submodule {name} is at {remote.address[:200]}, which is not fetched for "
        "this repository. Give it an https:// address."
    )


def _absolute(base: str, url: str) -> str:
    """What a relative address means: git resolves it against the one of the repository above."""
    if not url.startswith(("./", "../")):
        return url
    base = base.rstrip("/")
    while url.startswith(("./", "../")):
        step, _, url = url.partition("/")
        if step == "..":
            base = base.rpartition("/")[0]
    return f"{base}/{url}"


def _git_below(git: Git, submodule: Submodule) -> Git:
    """Git in the place of the submodule, with settings and credentials of its own: none.

    Raises:
        SubmoduleUnavailable: the place is not the empty directory that git leaves for it.
    """
    top = git.tree.resolve()
    place = top / submodule.path
    if place.is_symlink() or place.parent.resolve() != place.parent or not place.is_dir():
        raise SubmoduleUnavailable(f"The place of the submodule {submodule.path[:200]} is taken.")
    settings = git.settings.with_name("submodules") / "gitconfig"
    settings.parent.mkdir(exist_ok=True)
    return replace(git, tree=place, settings=settings)
