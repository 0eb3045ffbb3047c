"""One call of GitHub's API: sent, tried again where that is safe, its answer judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from zeitwork import clock, metrics, outbound, retry
from zeitwork.errors import (
    GitHubCredentials,
    GitHubForbidden,
    GitHubLimited,
    GitHubNotFound,
    GitHubRefused,
    GitHubUnavailable,
)
from zeitwork.github import limits

_CALL_SECONDS = 15.0
_MOST_BYTES = 16 * 1024 * 1024
_MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 307, 308})
_ERROR, _SERVER_ERROR = 400, 500
_REPEATABLE = frozenset({"GET", "PATCH", "PUT", "DELETE"})
_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_REFUSALS: Mapping[int, type[GitHubRefused]] = {
    401: GitHubCredentials,
    403: GitHubForbidden,
    404: GitHubNotFound,
    410: GitHubNotFound,
}


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who calls; GitHub counts each `lane` (the App, an installation) by itself."""

    lane: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its JSON (None when there is no body), and the address of the next page."""

    content: Any
    next_page: str | None


class Caller:
    """Calls the API at `base`; a Service, as it holds connections.

    A POST is tried again only where it is certain that it had no effect.
    """

    name = "github"

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")
        self._session: outbound.Session | None = None
        self._silent_until: dict[str, float] = {}

    async def start(self) -> None:
        if self._session is None:
            self._session = outbound.session(total=_CALL_SECONDS)

    async def ready(self) -> str | None:
        """Never waits for GitHub: without it everything but its own consumers goes on."""
        return None if self._session is not None else "not started"

    async def stop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        bearer: Bearer,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """The answer; `path` begins with `/`, or is the address of a next page.

        Raises:
            GitHubLimited: GitHub takes no calls of this bearer for a while; nothing was done.
            GitHubRefused: or a subclass; it would be refused again.
            GitHubUnavailable: no answer that can be used, after a few tries.
        """
        address = self._base + path if path.startswith("/") else path
        if not address.startswith(f"{self._base}/"):
            raise GitHubRefused("GitHub's API names a page elsewhere; nothing was sent there.")
        async for attempt in retry.quick(when=_repeats(method)):
            with attempt:
                return await self._follow(method, address, bearer, body, query)
        raise AssertionError("unreachable")

    async def _follow(
        self,
        method: str,
        address: str,
        bearer: Bearer,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
    ) -> Reply:
        """Send, also where a renamed repository leads to; only on the server itself."""
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._send(method, address, bearer, body, query)
            if isinstance(answer, Reply):
                return answer
            query = None  # the new address holds it
            address = urljoin(address, answer)
            if urlsplit(address)[:2] != urlsplit(self._base)[:2]:
                raise GitHubRefused("GitHub's API leads to another server; nothing was sent there.")
        raise GitHubUnavailable("GitHub's API leads in a circle.", done=False)

    async def _send(
        self,
        method: str,
        address: str,
        bearer: Bearer,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
    ) -> Reply | str:
        self._admit(bearer.lane)
        if self._session is None:
            raise GitHubUnavailable("The GitHub client does not run.", done=False)
        outcome = "unavailable"
        try:
            async with self._session.request(
                method,
                address,
                json=body,
                params=query,
                headers={**_HEADERS, "Authorization": f"Bearer {bearer.token}"},
                allow_redirects=False,
            ) as response:
                outcome = f"{response.status // 100}xx"
                if response.status in _REDIRECTS:
                    return response.headers.get("Location", "")
                text = await _text(response)
                self._judge(response, text, bearer, f"{method} {urlsplit(address).path}")
                return Reply(_parsed(text), _next_page(response))
        except (outbound.ConnectError, outbound.ConnectTimeout) as error:
            raise GitHubUnavailable(
                f"GitHub cannot be reached: {type(error).__name__}", done=False
            ) from error
        except (outbound.ClientError, TimeoutError) as error:
            raise GitHubUnavailable(f"GitHub does not answer: {type(error).__name__}") from error
        finally:
            metrics.GITHUB_CALLS.labels(method, outcome).inc()

    def _admit(self, lane: str) -> None:
        until = self._silent_until.get(lane)
        if until is None:
            return
        left = until - clock.monotonic()
        if left > 0:
            raise GitHubLimited(f"GitHub takes no calls for {left:.0f} s more.", seconds=left)
        del self._silent_until[lane]

    def _judge(self, response: outbound.Response, text: str, bearer: Bearer, what: str) -> None:
        status = response.status
        if status < _ERROR:
            return
        seconds = limits.pause(status, response.headers, text, now=clock.now().timestamp())
        if seconds is not None:
            self._silent_until[bearer.lane] = clock.monotonic() + seconds
            raise GitHubLimited(f"GitHub takes no calls for {seconds:.0f} s.", seconds=seconds)
        said = f"GitHub answered {status} to {what}: {_message(text)}"
        if status >= _SERVER_ERROR:
            raise GitHubUnavailable(said)
        raise _REFUSALS.get(status, GitHubRefused)(said)


def _repeats(method: str) -> Any:
    def may_help(error: BaseException) -> bool:
        # What is limited has to wait for longer than a call may take: the caller decides.
        if not isinstance(error, GitHubUnavailable) or isinstance(error, GitHubLimited):
            return False
        return method in _REPEATABLE or error.done is False

    return may_help


async def _text(response: outbound.Response) -> str:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > _MOST_BYTES:
            raise GitHubUnavailable("GitHub's answer is too long.")
    return content.decode("utf-8", "replace")


def _parsed(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GitHubUnavailable("GitHub's answer is not JSON.") from error


def _message(text: str) -> str:
    """What an error says of itself, in short."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return "(no JSON)"
    if not isinstance(content, dict):
        return "(no message)"
    said = [str(content.get("message", "no message"))]
    errors = content.get("errors")
    if isinstance(errors, list):
        said += [
            str(each.get("message", each) if isinstance(each, dict) else each) for each in errors
        ]
    return "; ".join(said)[:300]


def _next_page(response: outbound.Response) -> str | None:
    following = response.links.get("next")
    return str(following["url"]) if following is not None else None
