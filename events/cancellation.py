"""Calls of nats-py that lose no cancellation.

nats-py waits with `asyncio.wait_for`, which up to Python 3.11 takes an answer that comes in the
same instant as a cancellation, and forgets the cancellation: a loop goes on, and whoever cancelled
it waits for ever. https://github.com/python/cpython/issues/86296
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeded() -> Iterator[None]:
    """Raise the cancellation that came during the block, if the block did not.

    Raises:
        CancelledError: this task was cancelled meanwhile.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    except Exception as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
