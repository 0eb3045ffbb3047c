"""The client of /api/v1 that every command uses; errors become the API's own words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from cli.options import Options
from cli.platform_file import load
from zeitwork import config, outbound
from zeitwork.errors import InvalidSettings, Unavailable, ZeitworkError

_PREFIX = "/api/v1"
_CHUNK_BYTES = 256 * 1024


class ApiProblem(Exception):
    """The API refused; `document` is its RFC 9457 problem."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        super().__init__(str(document.get("detail") or document.get("title") or status))
        self.status = status
        self.document = document

    @property
    def code(self) -> str:
        return str(self.document.get("code", "unknown"))


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event; `data` is its JSON."""

    name: str
    data: dict[str, Any]


class Client:
    """Calls of one API with one token."""

    def __init__(self, session: outbound.Session, base: str) -> None:
        self._session = session
        self.origin = base.rstrip("/")
        self._base = self.origin + _PREFIX

    async def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        return await self._call("GET", path, query=query)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("POST", path, body=_given(body))

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("PATCH", path, body=_given(body))

    async def delete(self, path: str, **query: str | int | None) -> dict[str, Any]:
        return await self._call("DELETE", path, query=query)

    async def pages(self, path: str, cursor: str, **query: str | int | None) -> list[Any]:
        """All items of a paged list; `cursor` names the query parameter that continues."""
        items: list[Any] = []
        while True:
            page = await self.get(path, **query)
            items += page["items"]
            if page["next"] is None:
                return items
            query[cursor] = page["next"]

    async def download(self, path: str, target: Path) -> None:
        """Write what the API answers into the file `target`.

        Raises:
            Unavailable: the API cannot be reached, or the answer was cut off.
            ApiProblem: it refused.
        """
        try:
            async with self._session.get(
                self._base + path,
                # An artifact's size, not a clock, bounds its download.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30),
            ) as answer:
                await _check(answer)
                with target.open("wb") as file:
                    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                        file.write(chunk)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _failed(self._base, error) from error

    @asynccontextmanager
    async def events(self, path: str) -> AsyncIterator[AsyncIterator[ServerEvent]]:
        """A stream of server-sent events; it is open once the context is entered.

        Raises:
            Unavailable: the API cannot be reached.
            ApiProblem: it refused.
        """
        try:
            async with self._session.get(
                self._base + path, timeout=aiohttp.ClientTimeout(total=None, sock_connect=5)
            ) as answer:
                await _check(answer)
                await answer.content.readline()
                yield _parse_events(answer.content)
        except aiohttp.ClientError as error:
            raise _failed(self._base, error) from error

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        params = {name: str(value) for name, value in (query or {}).items() if value is not None}
        try:
            async with self._session.request(
                method, self._base + path, params=params, json=body
            ) as answer:
                await _check(answer)
                found: dict[str, Any] = await answer.json()
                return found
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _failed(self._base, error) from error


@asynccontextmanager
async def connect(options: Options) -> AsyncIterator[Client]:
    """A client of the platform: ZEITWORK_API_URL and ZEITWORK_API_TOKEN, else the local one.

    Raises:
        InvalidSettings: neither is there.
    """
    url = config.environment("ZEITWORK_API_URL")
    token = config.environment("ZEITWORK_API_TOKEN")
    if url is None or token is None:
        platform = load(options.data_dir)
        if platform is None:
            raise InvalidSettings(
                "No platform runs here. Start one with `zeitwork up`, or set ZEITWORK_API_URL and "
                "ZEITWORK_API_TOKEN."
            )
        url, token = url or platform.api_url, token or platform.api_token
    async with outbound.session(token=token) as session:
        yield Client(session, url)


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


async def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.ok:
        return
    try:
        document = json.loads(await answer.text())
    except ValueError:
        document = None
    if not isinstance(document, dict):  # not our API's: a proxy's in front of it, perhaps
        document = {"detail": f"{answer.url.origin()} answers with status {answer.status}"}
    raise ApiProblem(answer.status, document)


async def _parse_events(content: aiohttp.StreamReader) -> AsyncIterator[ServerEvent]:
    name, data = "message", ""
    async for raw in content:
        line = raw.decode().rstrip("\r\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data += line.removeprefix("data: ")
        elif not line and data:
            yield ServerEvent(name, json.loads(data))
            name, data = "message", ""


def _failed(base: str, error: Exception) -> ZeitworkError:
    """Our error for one of the HTTP client's."""
    match error:
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return InvalidSettings(f"{base} is not an HTTP URL: set ZEITWORK_API_URL.")
        case aiohttp.ClientConnectionError() | TimeoutError():
            return Unavailable(f"The API at {base} does not answer. Is `zeitwork up` running?")
        case aiohttp.ClientPayloadError():
            return Unavailable(f"The API at {base} broke off its answer.")
        case _:
            return Unavailable(f"What answers at {base} is not the API of Zeitwork.")
