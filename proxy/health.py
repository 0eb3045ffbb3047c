"""What an instance's own answers say of its health: ejection for a while after failures. Pure.

Envoy's outlier detection with its defaults: five failures in a row eject, first for 30 s, each time
for 30 s longer, at most for 300 s; calm intervals of 10 s take steps back. Of a route's instances
at most half are ejected, so the only one never is. That an instance fails its health check is the
node agent's to find, and takes it off the routes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_FAILURES: Final = 5
_EJECTED_SECONDS: Final = 30.0
_MAX_EJECTED_SECONDS: Final = 300.0
_CALM_SECONDS: Final = 10.0


class Health:
    """Of one instance; times in the caller's monotonic seconds.

    Attributes:
        avoided_until: until when it is passed over.
    """

    __slots__ = ("_ejected_until", "_ejections", "_failures", "avoided_until")

    def __init__(self) -> None:
        self.avoided_until = 0.0
        self._failures = 0
        self._ejections = 0
        self._ejected_until = 0.0

    def ejected(self, now: float) -> bool:
        return self._ejected_until > now

    def succeeded(self) -> None:
        self._failures = 0

    def refused(self, *, until: float) -> None:
        """It took no connection; try others for a moment."""
        self.avoided_until = max(self.avoided_until, until)

    def failed(self, now: float, *, others: Iterable[Health]) -> bool:
        """It answered with 5xx, wrongly or not at all; whether that ejects it now.

        Args:
            others: of the instances that serve the same host.
        """
        self._failures += 1
        if self._failures < _FAILURES or self.ejected(now):
            return False
        beside = [other for other in others if other is not self]
        ejected = 1 + sum(other.ejected(now) for other in beside)
        if 2 * ejected > 1 + len(beside):
            return False
        calm = int(max(0.0, now - self._ejected_until) / _CALM_SECONDS)
        self._ejections = max(0, self._ejections - calm) + 1
        self._failures = 0
        self._ejected_until = now + min(_MAX_EJECTED_SECONDS, _EJECTED_SECONDS * self._ejections)
        self.avoided_until = max(self.avoided_until, self._ejected_until)
        return True
