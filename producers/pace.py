"""How many events the relay takes at once from a stream's outbox; pure."""

from __future__ import annotations

MOST = 1000  # the server's limit for a batch


class Pace:
    """Halved while the stream refuses, so that what still fits gets in; doubled as it accepts."""

    def __init__(self) -> None:
        self.size = MOST

    def accepted(self) -> None:
        self.size = min(MOST, 2 * self.size)

    def refused(self) -> bool:
        """Take less; False when not even one is taken, and only waiting can help."""
        if self.size == 1:
            return False
        self.size //= 2
        return True
