"""The clock: real by default, replaceable for a context and its tasks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from zeitwork import clock
from zeitwork.clock import FakeClock

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_real_clock_is_aware_and_goes_on() -> None:
    assert clock.now().utcoffset() == timedelta(0)
    before = clock.monotonic()
    assert clock.monotonic() >= before


def test_a_fake_clock_moves_only_when_told() -> None:
    fake = FakeClock(START)
    with clock.using(fake):
        assert (clock.now(), clock.monotonic()) == (START, 0)
        fake.advance(90)
        assert clock.now() == START + timedelta(seconds=90)
        assert clock.monotonic() == 90
    assert clock.now() != START + timedelta(seconds=90)


async def test_sleep_on_a_fake_clock_takes_no_time_and_gives_way() -> None:
    order: list[str] = []

    async def other() -> None:
        order.append("other")

    with clock.using(FakeClock(START)):
        task = asyncio.ensure_future(other())
        await clock.sleep(3600)
        order.append("slept")
        await task
        assert clock.now() == START + timedelta(hours=1)
    assert order == ["other", "slept"]


async def test_tasks_inherit_the_clock_of_their_context() -> None:
    async def read() -> datetime:
        return clock.now()

    with clock.using(FakeClock(START)):
        task = asyncio.ensure_future(read())
    assert await task == START
    assert await read() != START


def test_jitter_stays_within_its_fraction() -> None:
    with clock.using(FakeClock(START, seed=7)):
        values = [clock.jitter(10) for _ in range(200)]
        wide = [clock.jitter(10, 0.5) for _ in range(200)]
    assert all(9 <= value <= 11 for value in values)
    assert max(values) - min(values) > 1
    assert all(5 <= value <= 15 for value in wide)


def test_the_same_seed_gives_the_same_jitter() -> None:
    def draw() -> list[float]:
        with clock.using(FakeClock(START, seed=3)):
            return [clock.jitter(1) for _ in range(5)]

    assert draw() == draw()


def test_calls_on_a_fake_clock_come_in_order_at_their_times() -> None:
    heard: list[tuple[str, float]] = []
    fake = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    with clock.using(fake):

        def again() -> None:
            heard.append(("first", clock.monotonic()))
            clock.later(3, lambda: heard.append(("again", clock.monotonic())))

        clock.later(5, lambda: heard.append(("second", clock.monotonic())))
        clock.later(1, again)
        clock.later(2, lambda: heard.append(("never", clock.monotonic()))).cancel()
        fake.advance(4.5)
        assert heard == [("first", 1), ("again", 4)]
        fake.advance(1)
    assert heard[2:] == [("second", 5)]


async def test_calls_on_the_real_clock_come_unless_cancelled() -> None:
    heard: list[str] = []
    last = asyncio.Event()
    clock.later(0.001, lambda: heard.append("first"))
    clock.later(0.001, lambda: heard.append("never")).cancel()
    clock.later(0.002, last.set)
    await last.wait()
    assert heard == ["first"]
