"""The timer that watches a connection's time limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadline:
    """One moving deadline of a connection.

    Moving it later, which is what nearly every request does, is an assignment: the loop's timer
    stays where it is and looks again when it fires.
    """

    __slots__ = ("_at", "_expired", "_fires_at", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at: float | None = None
        self._fires_at = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Expire `seconds` from now, whatever was set before."""
        at = self._loop.time() + seconds
        self._at = at
        if self._handle is None or at < self._fires_at:
            self._arm(at)

    def clear(self) -> None:
        self._at = None

    def close(self) -> None:
        """Clear, and leave nothing behind in the loop."""
        self._at = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._fires_at = at
        self._handle = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._handle = None
        if self._at is None:
            return
        if self._at > self._loop.time():
            self._arm(self._at)
            return
        self._at = None
        self._expired()
