"""WebSocket: bytes both ways between a client and an instance, once the instance said 101.

A tunnel holds its two transports and nothing of the routing table, so route changes do not touch
it. Each side's full buffer pauses the other side's reading. Where a tunnel has to end before its
ends want it to, both are told so in their own protocol, between two frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.frames import GOING_AWAY, GOING_AWAY_MASKED, FrameCursor
from zeitwork import clock


class _Way:
    """One direction of a tunnel."""

    __slots__ = ("_cursor", "_leaving", "_out", "_parting", "bytes", "ended")

    def __init__(self, out: asyncio.Transport, parting: bytes) -> None:
        self.bytes = 0
        self.ended = False
        self._out = out
        self._parting = parting
        self._cursor = FrameCursor()
        self._leaving = False

    def carry(self, data: bytes) -> None:
        if self.ended:
            return  # behind a Close frame nothing may come (RFC 6455 §5.5.1)
        if not self._leaving:
            self._cursor.advance(data)
            self._write(data)
            return
        self._write(data[: self._cursor.finish(data)])
        self._part()

    def leave(self) -> None:
        """Say goodbye, now or behind the frame in hand."""
        if not self._leaving:
            self._leaving = True
            self._part()

    def _part(self) -> None:
        if self._cursor.between:
            self.ended = True
            self._out.write(self._parting)

    def _write(self, data: bytes) -> None:
        self.bytes += len(data)
        self._out.write(data)


class Tunnel:
    """Carries bytes until either side closes."""

    __slots__ = (
        "_client",
        "_closed",
        "_down",
        "_ended",
        "_linger_seconds",
        "_moved",
        "_timer",
        "_up",
        "_upstream",
    )

    def __init__(
        self,
        *,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        moved: Callable[[], None],
        ended: Callable[[Tunnel], None],
        linger_seconds: float,
    ) -> None:
        """Join two transports.

        Args:
            moved: called whenever bytes pass, to push the idle deadline.
            ended: called once, when the tunnel closes.
            linger_seconds: how long the ends have to close by themselves when told to.
        """
        self._client = client
        self._upstream = upstream
        self._moved = moved
        self._ended = ended
        self._linger_seconds = linger_seconds
        self._closed = False
        self._timer: clock.Timer | None = None
        self._up = _Way(upstream, GOING_AWAY_MASKED)
        self._down = _Way(client, GOING_AWAY)

    @property
    def received(self) -> int:
        """Bytes from the client."""
        return self._up.bytes

    @property
    def sent(self) -> int:
        return self._down.bytes

    def from_client(self, data: bytes) -> None:
        if not self._closed:
            self._up.carry(data)
            self._moved()

    def from_upstream(self, data: bytes) -> None:
        if not self._closed:
            self._down.carry(data)
            self._moved()

    def pause_client(self) -> None:
        """The instance does not keep up: read nothing more from the client."""
        if not self._closed:
            self._client.pause_reading()

    def resume_client(self) -> None:
        if not self._closed:
            self._client.resume_reading()

    def pause_upstream(self) -> None:
        """The client does not keep up: read nothing more from the instance."""
        if not self._closed:
            self._upstream.pause_reading()

    def resume_upstream(self) -> None:
        if not self._closed:
            self._upstream.resume_reading()

    def go_away(self) -> None:
        """Tell both ends 1001, and close when they did or had the time to."""
        if self._closed or self._timer is not None:
            return
        self._timer = clock.later(self._linger_seconds, self.close)
        self._down.leave()
        self._up.leave()

    def close(self) -> None:
        """Close both sides; what was written already is still sent."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._client.close()
        self._upstream.close()
        self._ended(self)
