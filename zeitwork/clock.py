"""The only place that reads time or sleeps, so that a simulation can own both."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar


class Clock(Protocol):
    """What the program may know about time."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Give way for `seconds`."""

    def random(self) -> float:
        """A number in [0, 1) for jitter; never for secrets."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random(self) -> float:
        return random.random()  # noqa: S311 - jitter, not a secret


class FakeClock:
    """A clock that moves only when told; `sleep` moves it and yields once."""

    def __init__(self, start: datetime, seed: int = 0) -> None:
        self._now = start
        self._elapsed = 0.0
        self._random = random.Random(seed)  # noqa: S311 - a seeded test clock

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds

    def random(self) -> float:
        return self._random.random()


AnyClock = TypeVar("AnyClock", bound=Clock)

_SYSTEM: Clock = SystemClock()
_current: ContextVar[Clock] = ContextVar("zeitwork_clock", default=_SYSTEM)


@contextmanager
def using(clock: AnyClock) -> Iterator[AnyClock]:
    """Make `clock` the clock of this context and of the tasks started in it."""
    token = _current.set(clock)
    try:
        yield clock
    finally:
        _current.reset(token)


def now() -> datetime:
    return _current.get().now()


def monotonic() -> float:
    return _current.get().monotonic()


async def sleep(seconds: float) -> None:
    await _current.get().sleep(seconds)


def jitter(seconds: float, fraction: float = 0.1) -> float:
    """`seconds` moved by up to ± `fraction` of itself."""
    return seconds * (1 + fraction * (2 * _current.get().random() - 1))
