"""The only place that reads time or sleeps, so that a simulation can own both."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar


class Timer(Protocol):
    """A call that is yet to come."""

    def cancel(self) -> None:
        """Let it not come."""


class Clock(Protocol):
    """What the program may know about time."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Give way for `seconds`."""

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once after `seconds`, in the loop that runs."""

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

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, call)

    def random(self) -> float:
        return random.random()  # noqa: S311 - jitter, not a secret


@dataclass(slots=True)
class _FakeTimer:
    at: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """A clock that moves only when told; `sleep` moves it and yields once."""

    def __init__(self, start: datetime, seed: int = 0) -> None:
        self._now = start
        self._elapsed = 0.0
        self._random = random.Random(seed)  # noqa: S311 - a seeded test clock
        self._timers: list[_FakeTimer] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = _FakeTimer(self._elapsed + seconds, call)
        self._timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Move on; the calls that are due by then come in their order, each at its time."""
        end = self._elapsed + seconds
        while due := [timer for timer in self._timers if timer.at <= end]:
            timer = min(due, key=lambda each: each.at)
            self._timers.remove(timer)
            self._move(timer.at)
            if not timer.cancelled:
                timer.call()
        self._move(end)

    def _move(self, to: float) -> None:
        self._now += timedelta(seconds=to - self._elapsed)
        self._elapsed = to

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


def later(seconds: float, call: Callable[[], None]) -> Timer:
    return _current.get().later(seconds, call)


def jitter(seconds: float, fraction: float = 0.1) -> float:
    """`seconds` moved by up to ± `fraction` of itself."""
    return seconds * (1 + fraction * (2 * _current.get().random() - 1))
