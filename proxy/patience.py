"""How long an arriving body is waited for: as long as it comes fast enough. Pure.

A sender that trickles holds a connection, and an instance's worker, as long as it likes unless its
rate has a floor (slow-body attacks). Time in which we do not read counts for nobody.
"""

from __future__ import annotations

from proxy.limits import Limits


class Patience:
    """Of one body; times in the caller's monotonic seconds."""

    __slots__ = ("_bytes_per_second", "_grace", "_left", "_until")

    def __init__(self, now: float, limits: Limits) -> None:
        """Begin to wait; the grace is the longest silence, and what a slow sender uses up."""
        self._grace = limits.body_idle_seconds
        self._bytes_per_second = limits.body_bytes_per_second
        self._until = now + self._grace
        self._left: float | None = None

    def arrived(self, count: int, now: float) -> float:
        """Bytes came; the seconds to wait for more."""
        self._until = min(now + self._grace, self._until + count / self._bytes_per_second)
        return max(0.0, self._until - now)

    def pause(self, now: float) -> None:
        """Nothing is read from now on."""
        if self._left is None:
            self._left = max(0.0, self._until - now)

    def resume(self, now: float) -> float:
        """Reading goes on; the seconds to wait."""
        if self._left is not None:
            self._until = now + self._left
            self._left = None
        return max(0.0, self._until - now)
