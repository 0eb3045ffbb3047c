"""One API call: the request, what it was authenticated as, and what handlers may use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from db.engine import Database
from db.session import UnitOfWork
from events.bus import Bus
from producers.api.problems import InvalidFields
from producers.outbox_gauge import OutboxGauge
from producers.queues import QueueMeter
from producers.webhooks.intake import Intake
from zeitwork.blobs import BlobStore
from zeitwork.config import Settings
from zeitwork.errors import BodyTooLarge, InvalidInput, MalformedBody
from zeitwork.sealing import KeyRing

_Body = TypeVar("_Body", bound=BaseModel)


class BodyTooSlow(InvalidInput):
    """The body did not arrive in time."""

    code = "body_too_slow"
    status = 408
    retryable = True


class Access(Enum):
    """Who may call a route."""

    PUBLIC = auto()
    USER = auto()
    NODE = auto()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A line of the route table; `max_body` in bytes, to arrive within `body_seconds`."""

    method: str
    path: str
    handle: Callable[[Call], Awaitable[web.StreamResponse]]
    access: Access = Access.USER
    max_body: int = 1024 * 1024
    body_seconds: float = 60.0

    @property
    def takes_in(self) -> bool:
        """True where outsiders cause events. Machines go on, as they are what works them off."""
        return self.method not in {"GET", "HEAD"} and self.access is not Access.NODE


@dataclass(frozen=True, slots=True)
class Deps:
    """What handlers may use."""

    settings: Settings
    work: UnitOfWork
    bus: Bus
    blobs: BlobStore
    queues: QueueMeter
    outbox: OutboxGauge
    intake: Intake
    keys: KeyRing


class Call:
    """What a handler gets."""

    def __init__(self, request: web.Request, endpoint: Endpoint, deps: Deps) -> None:
        self.request = request
        self._endpoint = endpoint
        self._deps = deps

    @property
    def settings(self) -> Settings:
        return self._deps.settings

    @property
    def work(self) -> UnitOfWork:
        return self._deps.work

    @property
    def database(self) -> Database:
        return self._deps.work.database

    @property
    def bus(self) -> Bus:
        return self._deps.bus

    @property
    def blobs(self) -> BlobStore:
        return self._deps.blobs

    @property
    def intake(self) -> Intake:
        return self._deps.intake

    @property
    def queues(self) -> QueueMeter:
        return self._deps.queues

    @property
    def keys(self) -> KeyRing:
        return self._deps.keys

    def path(self, name: str) -> str:
        return self.request.match_info[name]

    async def read_body(self) -> bytes:
        """The raw body.

        Raises:
            BodyTooLarge: it is larger than the route takes; the rest is not read.
            BodyTooSlow: it did not arrive in time.
            MalformedBody: it is not framed or compressed as its headers say.
        """
        try:
            async with asyncio.timeout(self._endpoint.body_seconds):
                return await self._read_body()
        except TimeoutError as error:
            raise BodyTooSlow("The body did not arrive in time.") from error
        except web.RequestPayloadError as error:
            raise MalformedBody("The body is not encoded as its headers say.") from error

    async def body(self, model: type[_Body]) -> _Body:
        """The JSON body as a model; its types are not guessed.

        Raises:
            MalformedBody: it is not a JSON object.
            InvalidFields: fields are missing, unknown or of the wrong form.
        """
        raw = await self.read_body()
        try:
            data = json.loads(raw or b"{}")
        except (ValueError, RecursionError) as error:
            raise MalformedBody("The body is not JSON.") from error
        if not isinstance(data, dict):
            raise MalformedBody("The body must be a JSON object.")
        return validate(model, data, strict=True)

    def query(self, model: type[_Body]) -> _Body:
        """The query string as a model; unknown parameters are refused.

        Raises:
            InvalidFields: see `body`.
        """
        return validate(model, dict(self.request.query), strict=False)

    def reply(self, status: int, content: BaseModel | Mapping[str, Any]) -> web.Response:
        text = (
            content.model_dump_json()
            if isinstance(content, BaseModel)
            else json.dumps(content, default=str)
        )
        return web.Response(status=status, text=text, content_type="application/json")

    def reply_privately(self, status: int, content: BaseModel | Mapping[str, Any]) -> web.Response:
        """An answer that holds secrets: nobody on the way may keep it."""
        answer = self.reply(status, content)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    async def _read_body(self) -> bytes:
        limit = self._endpoint.max_body
        too_large = f"The body may have at most {limit} bytes."
        if (self.request.content_length or 0) > limit:
            raise BodyTooLarge(too_large)
        body = bytearray()
        async for chunk in self.request.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise BodyTooLarge(too_large)
        return bytes(body)


def validate(model: type[_Body], data: Mapping[str, Any], *, strict: bool) -> _Body:
    """A query's numbers come as text, those of a body (`strict`) do not."""
    try:
        return model.model_validate(data, strict=strict)
    except ValidationError as error:
        raise InvalidFields.of(error) from error
