"""Visitors that come at fixed times, however long the answers take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.pushes import Answer

_AT_ONCE = 16


@dataclass(frozen=True)
class Visit:
    """One request; times in seconds of the monotonic clock."""

    began: float
    ended: float
    answer: Answer


class Visitors:
    """Call `visit` so many times a second during the block (open loop).

    Attributes:
        visits: all of them, once the block has ended.
        due: how many the schedule had until then.
    """

    def __init__(self, visit: Callable[[], Answer], *, per_second: float) -> None:
        self.visits: list[Visit] = []
        self.due = 0
        self._visit = visit
        self._gap = 1 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visitors")
        self._pending: list[Future[Visit]] = []

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.visits = [each.result() for each in self._pending]

    def _run(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="visitor") as pool:
            while not self._stop.wait(self._next_due() - time.monotonic()):
                self._pending.append(pool.submit(self._one))
            self.due = int((time.monotonic() - self._began) / self._gap)

    def _next_due(self) -> float:
        return self._began + len(self._pending) * self._gap

    def _one(self) -> Visit:
        began = time.monotonic()
        answer = self._visit()
        return Visit(began, time.monotonic(), answer)
