"""Requests per second of clients and projects: the generic cell rate algorithm. Pure.

One number a key, the time at which its bucket would be empty again; the keys used least recently
are forgotten, so that a flood of addresses costs bounded memory. ITU-T I.371.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from functools import lru_cache
from typing import Final

_KEYS: Final = 50_000
_PREFIX: Final = 64  # what one subscriber gets in IPv6


class Rates:
    """A rate for each of many keys; times in the caller's monotonic seconds."""

    def __init__(self, per_second: float, *, burst_seconds: float, keys: int = _KEYS) -> None:
        """Know no key yet.

        Args:
            per_second: 0 for no limit.
            burst_seconds: so much of the rate may be used at once.
        """
        self._interval = 1 / per_second if per_second else 0.0
        self._burst = max(burst_seconds, self._interval)
        self._keys = keys
        self._empty_at: OrderedDict[tuple[str, ...], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._empty_at)

    def wait(self, key: tuple[str, ...], now: float) -> float:
        """Count a request: 0 if it may pass, else the seconds until one may."""
        if not self._interval:
            return 0.0
        empty_at = max(now, self._empty_at.get(key, 0.0)) + self._interval
        if empty_at - now > self._burst + 1e-9:
            return empty_at - now - self._burst
        self._empty_at[key] = empty_at
        self._empty_at.move_to_end(key)
        if len(self._empty_at) > self._keys:
            self._empty_at.popitem(last=False)
        return 0.0


@lru_cache(maxsize=4096)
def client_of(address: str) -> str:
    """Whom an address counts for: itself, or in IPv6 its network of 64 bits."""
    if ":" not in address:
        return address
    return str(ipaddress.IPv6Network((address, _PREFIX), strict=False))
