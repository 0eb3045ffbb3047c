"""The App at work: calls as itself and as its installations, whose tokens it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from zeitwork import clock, logs
from zeitwork.config import GitHubSettings
from zeitwork.errors import GitHubCredentials
from zeitwork.github import answers
from zeitwork.github import key as keys
from zeitwork.github.answers import Comment, Token
from zeitwork.github.caller import Bearer, Caller, Reply
from zeitwork.github.key import AppKey
from zeitwork.service import cancel, spawn

_log = logs.get(__name__)
_APP = "app"
# Tokens live for an hour. What begins with one, a clone for example, shall also end with it.
_MARGIN = timedelta(minutes=10)
_MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token may do; without `repository` and `permissions`, what the installation may.

    Attributes:
        repository: the only one (its name without the owner).
        permissions: pairs such as ("contents", "read").
    """

    installation_id: int
    repository: str | None = None
    permissions: tuple[tuple[str, str], ...] = ()

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {}
        if self.repository is not None:
            body["repositories"] = [self.repository]
        if self.permissions:
            body["permissions"] = dict(self.permissions)
        return body


@dataclass(slots=True)
class _Tokens:
    """Those that are valid, and those that are on their way: one call for all who wait."""

    kept: dict[Scope, Token] = field(default_factory=dict)
    coming: dict[Scope, asyncio.Task[Token]] = field(default_factory=dict)


class GitHubApp:
    """A Service; all calls of a process go through one, so that limits and tokens are shared."""

    name = "github"

    def __init__(self, api_url: str, key: AppKey) -> None:
        self._caller = Caller(api_url)
        self._key = key
        self._tokens = _Tokens()

    async def start(self) -> None:
        await self._caller.start()

    async def ready(self) -> str | None:
        return await self._caller.ready()

    async def stop(self) -> None:
        coming = list(self._tokens.coming.values())
        self._tokens = _Tokens()
        await cancel(*coming)
        await self._caller.stop()

    async def as_app(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """Call as the App; see `Caller.call`."""
        bearer = Bearer(_APP, self._key.token())
        return await self._caller.call(method, path, bearer=bearer, body=body, query=query)

    async def as_installation(
        self,
        scope: Scope,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """Call as an installation; see `Caller.call`. A token that was revoked is replaced once."""
        token = await self.token(scope)
        lane = f"installation {scope.installation_id}"
        try:
            return await self._caller.call(
                method, path, bearer=Bearer(lane, token), body=body, query=query
            )
        except GitHubCredentials:
            self._forget(scope, token)
        fresh = Bearer(lane, await self.token(scope))
        return await self._caller.call(method, path, bearer=fresh, body=body, query=query)

    async def pages(
        self, scope: Scope, path: str, *, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[Any]:
        """The content of each page of a list, as an installation; 100 pages at most."""
        asked: Mapping[str, str] | None = {"per_page": "100", **(query or {})}
        for _ in range(_MOST_PAGES):
            reply = await self.as_installation(scope, "GET", path, query=asked)
            yield reply.content
            if reply.next_page is None:
                return
            path, asked = reply.next_page, None
        _log.warning("a list on GitHub was cut", pages=_MOST_PAGES)

    def wrote(self, comment: Comment) -> bool:
        """Whether it is this App's; an App has an ID and a client ID, we know either."""
        author = comment.performed_via_github_app
        return author is not None and self._key.app_id in {str(author.id), author.client_id}

    async def token(self, scope: Scope) -> str:
        """A token that lives for ten minutes more at least.

        Whoever asks meanwhile waits for the same call, and gets the same error.

        Raises:
            GitHubRefused, GitHubUnavailable: see `Caller.call`.
        """
        kept = self._tokens.kept.get(scope)
        if kept is not None and kept.expires_at - clock.now() > _MARGIN:
            return kept.token
        coming = self._tokens.coming.get(scope)
        if coming is None:
            coming = spawn(self._fetch(scope), f"github-token-{scope.installation_id}")
            self._tokens.coming[scope] = coming
            coming.add_done_callback(lambda done: self._came(scope, done))
        return (await asyncio.shield(coming)).token

    async def _fetch(self, scope: Scope) -> Token:
        path = f"/app/installations/{scope.installation_id}/access_tokens"
        reply = await self.as_app("POST", path, body=scope.body())
        return answers.of(Token, reply.content)

    def _came(self, scope: Scope, done: asyncio.Task[Token]) -> None:
        if self._tokens.coming.get(scope) is done:
            del self._tokens.coming[scope]
        # Asked for in any case: what nobody waits for any more would be reported as forgotten.
        if done.cancelled() or done.exception() is not None:
            return
        now = clock.now()
        for each in [one for one, token in self._tokens.kept.items() if token.expires_at <= now]:
            del self._tokens.kept[each]
        self._tokens.kept[scope] = done.result()

    def _forget(self, scope: Scope, token: str) -> None:
        kept = self._tokens.kept.get(scope)
        if kept is not None and kept.token == token:
            del self._tokens.kept[scope]


def configured(settings: GitHubSettings) -> GitHubApp | None:
    """The App of the settings; None when there is none.

    Raises:
        InvalidSettings: its private key cannot be used.
    """
    if settings.private_key_file is None:
        return None
    key = keys.read(settings.app_id, settings.private_key_file)
    return GitHubApp(settings.api_url, key)
