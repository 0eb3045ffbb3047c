"""Concurrent steps of a start, of which none makes sense without the others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from zeitwork import service


async def together(*steps: Coroutine[Any, Any, object]) -> None:
    """Run all to the end. The first failure cancels the others and is raised as it is.

    A TaskGroup would wrap it in a group, which has no message for people.
    """
    tasks = [service.spawn(step, "together") for step in steps]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await service.cancel(*tasks)
