"""Picks an instance: power of two choices among those in good health. Pure.

Of two drawn at random the one with fewer requests gets the next (Mitzenmacher 2001): nearly as even
as looking at all of them, without every proxy running to the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol, TypeVar

_MIN_WEIGHT: Final = 0.1  # as Envoy's slow start


class Load(Protocol):
    """What the choice depends on; times in the caller's monotonic seconds."""

    @property
    def in_flight(self) -> int:
        """Requests that it has now."""

    @property
    def full(self) -> bool:
        """Its circuit is open: it has as many requests as it may have."""

    @property
    def avoided_until(self) -> float:
        """Until when it is passed over, because it refused or failed."""

    @property
    def warm_at(self) -> float:
        """From when on it takes its full part; 0 if from the start."""


L = TypeVar("L", bound=Load)


def pick(
    loads: Sequence[L],
    *,
    tried: Collection[L] = (),
    now: float,
    chance: Callable[[], float],
    warm_seconds: float = 0.0,
) -> L | None:
    """One to send a request to; None when all were tried or are full.

    Those that are avoided are passed over, unless there are no others: a wrong guess about all of
    them must not become an outage of its own.

    Args:
        chance: a number in [0, 1), a new one at each call.
        warm_seconds: how long a new instance takes to get its full part.
    """
    if len(loads) == 1:  # most routes, and nothing to choose
        only = loads[0]
        return None if only.full or only in tried else only
    open_ = [load for load in loads if not load.full and load not in tried]
    usable = [load for load in open_ if load.avoided_until <= now] or open_
    if len(usable) <= 1:
        return usable[0] if usable else None
    if any(load.warm_at > now for load in usable):
        weights = [weight(load.warm_at - now, warm_seconds=warm_seconds) for load in usable]
        # By one draw: of two, the cold one would always be the one with fewer requests.
        return usable[drawn(weights, chance())]
    count = len(usable)
    at = int(chance() * count)
    other = (at + 1 + int(chance() * (count - 1))) % count
    one, two = usable[at], usable[other]
    return two if two.in_flight < one.in_flight else one


def weight(cold_seconds: float, *, warm_seconds: float) -> float:
    """The part of a request that an instance gets which is cold for so long yet."""
    if cold_seconds <= 0 or warm_seconds <= 0:
        return 1.0
    return max(_MIN_WEIGHT, 1 - cold_seconds / warm_seconds)


def drawn(weights: Sequence[float], chance: float) -> int:
    """The index that `chance` in [0, 1) falls on."""
    left = chance * sum(weights)
    for index, each in enumerate(weights):
        left -= each
        if left < 0:
            return index
    return len(weights) - 1
