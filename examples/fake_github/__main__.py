"""`python -m examples.fake_github REPOSITORY…`: serve local git repositories as a GitHub App sees them.

Prints the settings that Zeitwork needs, then does what it is told, a line at a time; README.md goes
through it.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from examples.fake_github.server import FakeGitHub
from examples.fake_github.state import Delivery, Installation, Pull, Repository

HELP = """\
  (empty line)     push what is committed on main
  open BRANCH      open a pull request of a branch to main; its number is told
  update NUMBER    tell of new commits in it
  close NUMBER     close it
  quit             stop; so do Ctrl-C and Ctrl-D
With several repositories, begin with the one that is meant: shop open feature"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.fake_github",
        description=__doc__,
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("repositories", nargs="+", type=Path, help="git repositories")
    parser.add_argument("--port", type=int, default=8090, help="0 takes any")
    parser.add_argument("--owner", default="acme")
    parser.add_argument("--webhook", default="http://127.0.0.1:8080/api/v1/webhooks/github")
    parser.add_argument("--secret", default="not-a-secret", help="the webhook secret")
    parser.add_argument("--key", type=Path, default=Path("fake-github.pem"), help="is written")
    return parser.parse_args()


class Wrong(Exception):
    """What was typed cannot be done; the message says why."""


@dataclass
class Desk:
    """The fake and its repositories, by the name of each."""

    github: FakeGitHub
    installation: Installation
    repositories: dict[str, Repository]
    announced: bool = False

    async def do(self, line: str) -> None:
        """Carry out a line; everything it leads to is told before the next."""
        words = line.split()
        named = self.repositories.get(words[0]) if words else None
        chosen = [named] if named is not None else list(self.repositories.values())
        match words[1:] if named is not None else words:
            case []:
                for repository in chosen:
                    await self._push(repository)
            case ["open", branch]:
                await self._pull(self._only(chosen), branch)
            case [("update" | "close") as word, number] if number.isdigit():
                await self._change(self._only(chosen), word, int(number))
            case _:
                raise Wrong(f"That is not known. What is:\n{HELP}")

    async def _push(self, repository: Repository) -> None:
        sha = _commit(repository, "refs/heads/main")
        await self._announce()
        said = await self.github.say_push(repository, sha, installation=self.installation)
        _tell(f"{repository.full_name} main {sha[:12]}", said)

    async def _pull(self, repository: Repository, branch: str) -> None:
        pull = self.github.open_pull(repository, branch, _commit(repository, branch))
        await self._say(repository, pull, "opened")

    async def _change(self, repository: Repository, word: str, number: int) -> None:
        pull = repository.pulls.get(number)
        if pull is None:
            raise Wrong(f"{repository.full_name} has no pull request {number}.")
        if word == "update":
            pull.sha = _commit(repository, pull.branch)
        await self._say(repository, pull, "closed" if word == "close" else "synchronize")

    async def _say(self, repository: Repository, pull: Pull, action: str) -> None:
        await self._announce()
        said = await self.github.say_pull_request(
            repository, pull, action, installation=self.installation
        )
        _tell(f"{repository.full_name} #{pull.number} {action} {pull.sha[:12]}", said)

    async def _announce(self) -> None:
        """Say that the App was installed, once somebody hears it."""
        if not self.announced:
            said = await self.github.say_installation(self.installation, "created")
            _tell(f"installation {self.installation.id} on {self.installation.account.login}", said)
            self.announced = said.status_code < 300

    def _only(self, chosen: list[Repository]) -> Repository:
        if len(chosen) > 1:
            raise Wrong(f"Begin with the repository: one of {', '.join(self.repositories)}.")
        return chosen[0]


async def main() -> int:
    asked = _arguments()
    github = FakeGitHub(secret=asked.secret, webhook_url=asked.webhook)
    repositories = {}
    for path in asked.repositories:
        found = path.resolve()
        repository = github.add_repository(f"{asked.owner}/{found.name}", path=found)
        repositories[found.name] = repository
        try:
            _commit(repository, "HEAD")
        except Wrong as error:
            _print(str(error))
            return 2
    installation = github.install(asked.owner)
    await github.start(port=asked.port)
    asked.key.unlink(missing_ok=True)
    asked.key.touch(mode=0o600)
    asked.key.write_bytes(github.private_key)
    _print(f"export ZEITWORK_GITHUB__API_URL={github.url} ZEITWORK_GITHUB__WEB_URL={github.url}")
    _print(f"export ZEITWORK_GITHUB__APP_ID={github.app_id}")
    _print(f"export ZEITWORK_GITHUB__PRIVATE_KEY_FILE={asked.key.resolve()}")
    _print(f"export ZEITWORK_GITHUB_WEBHOOK_SECRET={asked.secret}")
    _print(f"# installation {installation.id} on {asked.owner}; Enter pushes, help tells the rest")
    try:
        await _converse(Desk(github, installation, repositories))
    finally:
        await github.stop()
    return 0


async def _converse(desk: Desk) -> None:
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def say(line: str | None) -> None:
        loop.call_soon_threadsafe(lines.put_nowait, line)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lines.put_nowait, None)
    # A thread that nobody waits for: one that reads standard input cannot be called off.
    threading.Thread(target=_read, args=(say,), daemon=True).start()
    while (line := await lines.get()) not in {None, "quit"}:
        try:
            await desk.do(line or "")
        except Wrong as error:
            _print(str(error))


def _read(say: Callable[[str | None], object]) -> None:
    for line in sys.stdin:
        say(line.strip())
    say(None)


def _commit(repository: Repository, name: str) -> str:
    done = subprocess.run(
        [
            "git",
            "-C",
            str(repository.path),
            "rev-parse",
            "--verify",
            "--quiet",
            f"{name}^{{commit}}",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise Wrong(f"{repository.path} is no git repository with a commit at {name}.")
    return done.stdout.strip()


def _tell(what: str, said: Delivery) -> None:
    hint = "" if said.status_code < 500 else "  (does Zeitwork run, and listen at --webhook?)"
    _print(f"{what}: {said.status_code} {said.status}{hint}")


def _print(text: str) -> None:
    """At once, also into a pipe."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
