"""How many requests to one host may be second tries at a time. Pure.

Retries multiply load just when there is too much of it; so they are a part of the requests in hand
and no more (Envoy's retry budget: a fifth, and three in any case).
"""

from __future__ import annotations

from typing import Final

_PART: Final = 0.2
_LEAST: Final = 3


class RetryBudget:
    """Of one host.

    Attributes:
        active: requests that have no complete answer yet.
    """

    __slots__ = ("_retrying", "active")

    def __init__(self) -> None:
        self.active = 0
        self._retrying = 0

    def take(self) -> bool:
        """Reserve a retry, to be given back when its request ends; False when there is none."""
        if self._retrying >= max(_LEAST, self.active * _PART):
            return False
        self._retrying += 1
        return True

    def give_back(self) -> None:
        self._retrying -= 1
