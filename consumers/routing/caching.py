"""Copies each changed route into the shared cache, from which a proxy can start without PostgreSQL.

The cache keeps the newest version of a host, so order and repetition do not matter. A removed one
leaves nothing behind that could tell a late change from a new one; a proxy that starts from it
sends visitors to instances that have gone, and no further.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from consumers.outcomes import Done, Outcome
from events.envelope import Envelope
from events.routes import CACHE_TABLE, RouteChanged, RouteRemoved
from zeitwork.cache import Cache


def copy_to(cache: Cache) -> Callable[[Envelope], Awaitable[Outcome]]:
    """The handler of `route.changed` and `route.removed`."""

    async def handle(envelope: Envelope) -> Outcome:
        event = envelope.data
        if isinstance(event, RouteRemoved):
            await cache.remove(CACHE_TABLE, event.host, version=event.version)
            return Done()
        assert isinstance(event, RouteChanged)  # noqa: S101 - bound so by the registry
        await cache.put(
            CACHE_TABLE,
            event.route.host,
            version=event.route.version,
            value=event.route.model_dump_json().encode(),
        )
        return Done()

    return handle
