"""The moving deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from typing_extensions import override

from proxy.deadline import Deadline


class ManualLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still until told, and which fires due timers then."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 100.0
        self.timers: list[asyncio.TimerHandle] = []

    @override
    def time(self) -> float:
        return self.at

    @override
    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, **_context: Any
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self)
        self.timers.append(timer)
        return timer

    def pass_to(self, at: float) -> None:
        self.at = at
        due = [timer for timer in self.timers if timer.when() <= at]
        self.timers = [timer for timer in self.timers if timer.when() > at]
        for timer in due:
            if not timer.cancelled():
                timer._run()

    @property
    def armed(self) -> int:
        return len([timer for timer in self.timers if not timer.cancelled()])


class Watched:
    """A deadline and how often it expired."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.expired = 0
        self.deadline = Deadline(self.loop, self._expire)

    def _expire(self) -> None:
        self.expired += 1


@pytest.fixture
def watched() -> Any:
    watched = Watched()
    yield watched
    watched.loop.close()


def test_it_expires_once_when_its_time_has_come(watched: Watched) -> None:
    watched.deadline.set(10)
    watched.loop.pass_to(109.9)
    assert watched.expired == 0
    watched.loop.pass_to(110)
    watched.loop.pass_to(200)
    assert (watched.expired, watched.loop.armed) == (1, 0)


def test_moving_it_later_arms_no_second_timer(watched: Watched) -> None:
    watched.deadline.set(10)
    for at in range(101, 110):
        watched.loop.pass_to(at)
        watched.deadline.set(10)
        assert watched.loop.armed == 1
    watched.loop.pass_to(118)
    assert watched.expired == 0
    watched.loop.pass_to(119)
    assert watched.expired == 1


def test_it_can_be_moved_earlier(watched: Watched) -> None:
    watched.deadline.set(60)
    watched.deadline.set(1)
    watched.loop.pass_to(101)
    watched.loop.pass_to(200)
    assert (watched.expired, watched.loop.armed) == (1, 0)


def test_cleared_it_does_not_expire_and_can_be_set_again(watched: Watched) -> None:
    watched.deadline.set(10)
    watched.deadline.clear()
    watched.loop.pass_to(150)
    assert watched.expired == 0
    watched.deadline.set(10)
    watched.loop.pass_to(160)
    assert watched.expired == 1


def test_closed_it_leaves_nothing_in_the_loop(watched: Watched) -> None:
    watched.deadline.set(10)
    watched.deadline.close()
    assert watched.loop.armed == 0
