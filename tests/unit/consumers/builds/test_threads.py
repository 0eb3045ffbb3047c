"""Work in a thread: told to stop, and waited for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from consumers.builds import threads


async def test_a_cancelled_wait_ends_only_after_its_thread() -> None:
    began = threading.Event()
    ended = threading.Event()

    def work(stop: threading.Event) -> None:
        began.set()
        assert stop.wait(30)
        ended.set()
        threads.check(stop)

    waiting = asyncio.ensure_future(threads.run(work))
    await asyncio.to_thread(began.wait, 30)
    waiting.cancel()
    await asyncio.sleep(0)
    waiting.cancel()  # a second one must not leave the thread behind
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_an_error_of_the_work_is_the_callers() -> None:
    def work(_: threading.Event) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await threads.run(work)
