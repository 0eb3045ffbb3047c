"""Body, header, time and connection caps, and the timer that watches them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the edge.

    Attributes:
        pipeline_bytes: read ahead of the request in hand; then the client's socket is not read.
        high_water_bytes: unsent bytes of one connection at which its source is paused.
        upstream_idle_seconds: below the 5 s after which Node.js and uvicorn close idle connections.
        half_close_seconds: how long a request without a response survives the client's FIN, which
            may mean "that was all I send" or "I am gone".
        linger_seconds: how long what a refused client still sends is read and thrown away, so that
            a reset does not destroy the answer on its way (RFC 9112 §9.6).
        drain_seconds: for requests in flight when the proxy stops; below the supervisor's 25 s.
    """

    request_line_bytes: int = 8 * _KIB
    request_head_bytes: int = 32 * _KIB
    response_head_bytes: int = 64 * _KIB
    head_fields: int = 100
    body_bytes: int = 100 * _MIB
    pipeline_bytes: int = 64 * _KIB
    high_water_bytes: int = 64 * _KIB
    connections: int = 10_000
    idle_upstream_connections: int = 64
    informational_responses: int = 16

    head_seconds: float = 10.0
    keep_alive_seconds: float = 65.0
    connect_seconds: float = 2.0
    response_head_seconds: float = 60.0
    body_idle_seconds: float = 60.0
    upstream_idle_seconds: float = 4.0
    tunnel_idle_seconds: float = 3600.0
    half_close_seconds: float = 5.0
    linger_seconds: float = 2.0
    refused_seconds: float = 2.0
    drain_seconds: float = 20.0


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
