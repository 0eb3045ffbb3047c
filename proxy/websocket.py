"""WebSocket: bytes both ways between a client and an instance, once the instance said 101.

A tunnel holds its two transports and nothing of the routing table, so route changes do not touch
it. Each side's full buffer pauses the other side's reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Tunnel:
    """Carries bytes until either side closes."""

    __slots__ = ("_client", "_closed", "_ended", "_moved", "_upstream", "received", "sent")

    def __init__(
        self,
        *,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        moved: Callable[[], None],
        ended: Callable[[Tunnel], None],
    ) -> None:
        """Join two transports.

        Args:
            moved: called whenever bytes pass, to push the idle deadline.
            ended: called once, when the tunnel closes.
        """
        self._client = client
        self._upstream = upstream
        self._moved = moved
        self._ended = ended
        self._closed = False
        self.received = 0
        self.sent = 0

    def from_client(self, data: bytes) -> None:
        if not self._closed:
            self.received += len(data)
            self._upstream.write(data)
            self._moved()

    def from_upstream(self, data: bytes) -> None:
        if not self._closed:
            self.sent += len(data)
            self._client.write(data)
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

    def close(self) -> None:
        """Close both sides; what was written already is still sent."""
        if self._closed:
            return
        self._closed = True
        self._client.close()
        self._upstream.close()
        self._ended(self)
