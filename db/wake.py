"""The wake-up after a commit: which streams have something to relay, as a signal on the bus.

Core NATS: nobody may hear it, and the relay polls besides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from events import subjects
from events.bus import Bus

Wake = Callable[[Collection[str]], Awaitable[None]]


def through(bus: Bus) -> Wake:
    """Sends the names of the streams."""

    async def wake(streams: Collection[str]) -> None:
        await bus.signal(subjects.WAKE_OUTBOX, ",".join(sorted(streams)).encode())

    return wake


def named(signal: bytes) -> frozenset[str]:
    """The streams that a wake-up names; whoever reads it knows its own among them."""
    return frozenset(signal.decode("ascii", "replace").split(","))
