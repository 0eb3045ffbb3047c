"""Blocking work in a thread that can be told to stop, and is waited for when it is cancelled.

A cancelled `asyncio.to_thread` leaves its thread running: it would go on writing into a directory
that is being removed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The work saw that nobody waits for its result any more."""


async def run(work: Callable[[Event], T]) -> T:
    """The result of `work`; a cancellation sets the event, waits for the thread, then goes on."""
    stop = Event()
    running = asyncio.get_running_loop().run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        while not running.done():
            # A second cancellation changes nothing: the thread is about to end.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        running.exception()
        raise


def check(stop: Event) -> None:
    """End the work when it is no longer wanted; to be called in its loops."""
    if stop.is_set():
        raise Stopped
