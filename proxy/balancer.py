"""Picks an instance: the one with the fewest requests in flight. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar


class Load(Protocol):
    """What the choice depends on; times in the caller's monotonic seconds."""

    @property
    def in_flight(self) -> int:
        """Requests that it has now."""

    @property
    def refused_until(self) -> float:
        """Until when it is passed over, because it refused a connection."""


L = TypeVar("L", bound=Load)


def pick(
    loads: Sequence[L], *, tried: Collection[L] = (), now: float, chance: float = 0.0
) -> L | None:
    """The least loaded instance; None when all were tried.

    Those that refused lately are passed over, unless there are no others: a wrong guess about
    all of them must not become an outage of its own.

    Args:
        chance: in [0, 1), decides between equals, so that proxies do not agree on one.
    """
    best: L | None = None
    best_rank = (True, 0)
    count = len(loads)
    start = int(chance * count)
    for step in range(count):
        load = loads[(start + step) % count]
        if load in tried:
            continue
        rank = (load.refused_until > now, load.in_flight)
        if best is None or rank < best_rank:
            best, best_rank = load, rank
    return best
