"""End what a build left running, found by the variable that each of its processes inherits.

A sandboxed build cannot leave anything behind for long: its pid namespace ends with it. Without a
sandbox a program may leave its session, and the kill of the group does not reach it. (A program
that also empties its environment is not found: without a sandbox builds are trusted.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import psutil

from zeitwork import clock, logs

VARIABLE = "ZW_BUILD"
T = TypeVar("T")

_log = logs.get(__name__)
_ROUND_SECONDS = 0.01
_PATIENCE_SECONDS = 5.0


async def end(mark: str) -> None:
    """Kill the processes whose variable has the value `mark`, until there are none."""
    deadline = clock.monotonic() + _PATIENCE_SECONDS
    while alive := await asyncio.to_thread(_kill, mark):
        if clock.monotonic() > deadline:
            # Stuck in the kernel, on a dead network file system perhaps.
            _log.error("build processes do not end", mark=mark, pids=alive)
            return
        await clock.sleep(_ROUND_SECONDS)


def _kill(mark: str) -> list[int]:
    alive = []
    for process in psutil.process_iter():
        environ = _ask(process.environ)
        if environ and environ.get(VARIABLE) == mark and _ask(process.status) != "zombie":
            _ask(process.kill)
            alive.append(process.pid)
    return alive


def _ask(question: Callable[[], T]) -> T | None:
    """The answer, or None when the process has gone or is not ours to see."""
    try:
        return question()
    except (psutil.Error, OSError):
        return None
