"""Loops: rounds that fail, hang, or are woken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.support.eventually import eventually
from zeitwork import metrics
from zeitwork.loops import Loop


class Rounds:
    """Counts its calls."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


@asynccontextmanager
async def running(
    round_: Callable[[], Awaitable[None]],
    *,
    name: str = "test",
    interval: float = 3600,
    **limits: float,
) -> AsyncIterator[Loop]:
    loop = Loop(name, round_, interval=interval, **limits)
    await loop.start()
    try:
        yield loop
    finally:
        await loop.stop()


def counted(name: str, outcome: str) -> float:
    labels = {"loop": name, "outcome": outcome}
    return metrics.REGISTRY.get_sample_value("zeitwork_loop_rounds_total", labels) or 0.0


async def test_the_first_round_comes_at_once_and_others_follow() -> None:
    rounds = Rounds()
    async with running(rounds, interval=0.001):
        await eventually(lambda: rounds.count >= 3)


async def test_a_wake_runs_the_next_round_before_its_time() -> None:
    rounds = Rounds()
    async with running(rounds) as loop:
        await eventually(lambda: rounds.count == 1)
        loop.wake()
        await eventually(lambda: rounds.count == 2)


async def test_wakes_during_a_round_are_one_round() -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()
    count = 0

    async def round_() -> None:
        nonlocal count
        count += 1
        inside.set()
        await go_on.wait()

    async with running(round_) as loop:
        await inside.wait()
        for _ in range(5):
            loop.wake()
        go_on.set()
        await eventually(lambda: count == 2)
        for _ in range(5):
            await asyncio.sleep(0)
        assert count == 2


async def test_a_failing_round_is_counted_and_the_next_one_comes() -> None:
    count = 0

    async def round_() -> None:
        nonlocal count
        count += 1
        if count < 3:
            raise RuntimeError("this one fails")

    async with running(round_, name="failing", interval=0.001) as loop:
        await eventually(lambda: count >= 4)
        assert await loop.ready() is None
    assert counted("failing", "failed") == 2
    assert counted("failing", "ok") >= 1


async def test_a_hanging_round_is_ended() -> None:
    ended = 0

    async def round_() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended += 1

    async with running(round_, name="hanging", interval=0.001, timeout=0.001):
        await eventually(lambda: ended >= 2)
    assert counted("hanging", "failed") >= 2


async def test_a_stop_ends_a_round_in_the_middle() -> None:
    inside = asyncio.Event()
    cancelled = False

    async def round_() -> None:
        nonlocal cancelled
        inside.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    async with running(round_):
        await inside.wait()
    assert cancelled


async def test_it_is_ready_only_while_it_runs() -> None:
    loop = Loop("test", Rounds(), interval=3600)
    assert await loop.ready() == "not started"
    await loop.start()
    assert await loop.ready() is None
    await loop.stop()
    await loop.stop()
    assert await loop.ready() == "not started"
