"""The server, and what a person or GitHub itself does: install, rename, push, suspend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from examples.fake_github import git_http
from examples.fake_github.api import Api, problem
from examples.fake_github.hooks import Hooks
from examples.fake_github.state import (
    Delivery,
    Installation,
    Json,
    Pull,
    Repository,
    State,
    stamp,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Trouble:
    """An answer that the next calls get instead of the real one.

    Attributes:
        status: 0 cuts the connection.
        done: the call has its effect before it is answered so.
        left: how many calls.
        path: what the path has to contain.
    """

    status: int
    left: int = 1
    path: str = ""
    method: str | None = None
    done: bool = False
    body: str = '{"message": "Server Error"}'
    headers: dict[str, str] | None = None


class FakeGitHub:
    """All of it; `url` is its address once it was started."""

    def __init__(self, *, app_id: str = "4711", secret: str = "", webhook_url: str = "") -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.private_key = key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        self.app_id = app_id
        self.state = State()
        self.hooks = Hooks(self.state, webhook_url, secret)
        self.api = Api(self.state, self.hooks, app_id, key.public_key())
        self.calls: list[tuple[str, str]] = []
        self.troubles: list[Trouble] = []
        self.held: asyncio.Event | None = None  # until it is set, git with a login gets no answer
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        app = web.Application(middlewares=[self._troubled], client_max_size=64 * 1024 * 1024)
        app.add_routes(self.api.routes())
        app.router.add_route("*", "/{owner}/{name:.+}.git/{rest:.+}", self._git)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])
        self.state.web_url = self.url

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await asyncio.gather(*self.api.sending, return_exceptions=True)
            await runner.cleanup()

    def trouble(self, status: int, **about: Any) -> None:
        self.troubles.append(Trouble(status, **about))

    # --- What people do ---------------------------------------------------------------------------

    def add_repository(
        self, full_name: str, *, path: Path | None = None, private: bool = True
    ) -> Repository:
        """A repository; `path` is a git repository, served as it is at each moment."""
        owner, _, name = full_name.partition("/")
        served = path / ".git" if path is not None and (path / ".git").is_dir() else path
        made = Repository(self.state.new_id(), self.state.account(owner), name, private, served)
        self.state.repositories[made.id] = made
        return made

    def install(self, login: str, *repositories: Repository) -> Installation:
        """Without `repositories` it may see all of them. Tells nobody; see `announce`."""
        chosen = {each.id for each in repositories} or None
        made = Installation(self.state.new_id(), self.state.account(login), chosen)
        self.state.installations[made.id] = made
        return made

    def suspend(self, installation: Installation) -> None:
        installation.suspended_at = installation.updated_at = self.state.tick()

    def unsuspend(self, installation: Installation) -> None:
        installation.suspended_at, installation.updated_at = None, self.state.tick()

    def uninstall(self, installation: Installation) -> None:
        installation.updated_at = self.state.tick()
        del self.state.installations[installation.id]

    def rename(self, repository: Repository, name: str) -> Json:
        """Give it another name; the `changes` of the event about it."""
        self.state.moved[repository.full_name.lower()] = repository.id
        changes = {"repository": {"name": {"from": repository.name}}}
        repository.name, repository.updated_at = name, self.state.tick()
        return changes

    def transfer(self, repository: Repository, login: str) -> Json:
        """Give it to another account; the `changes` of the event about it."""
        self.state.moved[repository.full_name.lower()] = repository.id
        kind = "organization" if repository.owner.type == "Organization" else "user"
        changes = {"owner": {"from": {kind: repository.owner.json()}}}
        repository.owner, repository.updated_at = self.state.account(login), self.state.tick()
        return changes

    # --- What GitHub says -------------------------------------------------------------------------

    async def say_installation(self, installation: Installation, action: str) -> Delivery:
        repositories = [_short(each) for each in self.state.visible(installation)]
        payload = {
            "action": action,
            "installation": installation.json(),
            "repositories": repositories,
            "sender": installation.account.json(),
        }
        return await self.hooks.send("installation", payload)

    async def say_repositories(
        self,
        installation: Installation,
        *,
        added: tuple[Repository, ...] = (),
        removed: tuple[Repository, ...] = (),
    ) -> Delivery:
        installation.updated_at = self.state.tick()
        payload = {
            "action": "added" if added else "removed",
            "installation": installation.json(),
            "repository_selection": installation.json()["repository_selection"],
            "repositories_added": [_short(each) for each in added],
            "repositories_removed": [_short(each) for each in removed],
            "sender": installation.account.json(),
        }
        return await self.hooks.send("installation_repositories", payload)

    async def say_repository(
        self,
        repository: Repository,
        action: str,
        *,
        installation: Installation,
        changes: Json | None = None,
    ) -> Delivery:
        payload = {
            "action": action,
            "repository": self.state.repository_json(repository),
            "installation": {"id": installation.id},
            "sender": repository.owner.json(),
            **({"changes": changes} if changes else {}),
        }
        return await self.hooks.send("repository", payload)

    async def say_push(
        self, repository: Repository, sha: str, *, installation: Installation, branch: str = "main"
    ) -> Delivery:
        payload = {
            "ref": f"refs/heads/{branch}",
            "before": "0" * 40,
            "after": sha,
            "created": False,
            "deleted": False,
            "forced": False,
            "repository": self.state.repository_json(repository),
            "installation": {"id": installation.id},
            "head_commit": {"id": sha, "message": "Change"},
            "pusher": {"name": repository.owner.login},
        }
        return await self.hooks.send("push", payload)

    def open_pull(self, repository: Repository, branch: str, sha: str) -> Pull:
        """A pull request to `main`; tells nobody, see `say_pull_request`."""
        pull = Pull(len(repository.pulls) + 1, branch, sha, updated_at=self.state.tick())
        repository.pulls[pull.number] = pull
        return pull

    async def say_pull_request(
        self, repository: Repository, pull: Pull, action: str, *, installation: Installation
    ) -> Delivery:
        pull.open, pull.updated_at = action != "closed", self.state.tick()
        there = self.state.repository_json(repository)
        payload = {
            "action": action,
            "number": pull.number,
            "pull_request": {
                "number": pull.number,
                "state": "open" if pull.open else "closed",
                "title": pull.title,
                "user": repository.owner.json(),
                "draft": False,
                "head": {"ref": pull.branch, "sha": pull.sha, "repo": there},
                "base": {"ref": "main", "repo": there},
                "updated_at": stamp(pull.updated_at),
            },
            "repository": there,
            "installation": {"id": installation.id},
            "sender": repository.owner.json(),
        }
        return await self.hooks.send("pull_request", payload)

    async def say_ping(self) -> Delivery:
        return await self.hooks.send("ping", {"zen": "Keep it logically awesome.", "hook_id": 1})

    async def _git(self, request: web.Request) -> web.StreamResponse:
        if self.held is not None and "Authorization" in request.headers:
            await self.held.wait()
        return await git_http.serve(request, self.state)

    @web.middleware
    async def _troubled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls.append((request.method, request.path))
        for trouble in self.troubles:
            if trouble.path in request.path and trouble.method in {None, request.method}:
                trouble.left -= 1
                if trouble.left <= 0:
                    self.troubles.remove(trouble)
                if trouble.done:
                    await handler(request)
                if trouble.status == 0 and request.transport is not None:
                    request.transport.close()
                return web.Response(
                    status=trouble.status or 500,
                    text=trouble.body,
                    content_type="application/json",
                    headers=trouble.headers,
                )
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return problem(404, "Not Found")


def _short(repository: Repository) -> Json:
    return {
        "id": repository.id,
        "name": repository.name,
        "full_name": repository.full_name,
        "private": repository.private,
    }
