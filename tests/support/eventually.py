"""Waiting for a condition: the only way a test waits."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    check: Callable[[], Awaitable[T]], *, timeout: float = ..., interval: float = ...
) -> T: ...


@overload
async def eventually(
    check: Callable[[], T], *, timeout: float = ..., interval: float = ...
) -> T: ...


async def eventually(
    check: Callable[[], Any], *, timeout: float = 15, interval: float = 0.02
) -> Any:
    """Call `check` until it returns something true and raises no AssertionError; its value.

    Real time, whatever clock the test has installed. Other exceptions end the wait at once.
    """
    deadline = time.monotonic() + timeout
    last: AssertionError | None = None
    while True:
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), interval)):
                outcome = check()
                value = await outcome if inspect.isawaitable(outcome) else outcome
        except TimeoutError as error:
            before = "" if last is None else f"; the one before: {last}"
            raise AssertionError(
                f"the check itself did not end within {timeout:g} s{before}"
            ) from error
        except AssertionError as failure:
            last = failure
        else:
            if value:
                return value
            last = AssertionError(f"last value: {value!r}")
        if time.monotonic() >= deadline:
            raise AssertionError(f"not true within {timeout:g} s: {last}") from last
        await asyncio.sleep(interval)
