"""What the platform says of itself to programs: the AsyncAPI document of its events."""

from __future__ import annotations

from functools import cache

from aiohttp import web

from events import reference
from producers.api.call import Call


async def asyncapi(_call: Call) -> web.Response:
    """`GET /asyncapi.json`: the same for everybody and as long as the process lives."""
    return web.Response(text=_document(), content_type="application/json")


@cache
def _document() -> str:
    return reference.texts()[reference.ASYNCAPI]
