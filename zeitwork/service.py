"""The life cycle of everything that runs: start, ready, stop; and the process that holds it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from zeitwork import logs

_log = logs.get(__name__)
_STOP_DEADLINE_SECONDS = 25.0  # below the 30 s that container engines wait before they kill


class Service(Protocol):
    """Something that runs inside a process."""

    @property
    def name(self) -> str:
        """Short, for logs and readiness reasons."""

    async def start(self) -> None:
        """Return when it runs; raise when it cannot."""

    async def ready(self) -> str | None:
        """None when it can do its work, else the reason why not."""

    async def stop(self) -> None:
        """End and clean up; safe before `start` and when called twice."""


def spawn(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """Start a named task; its owner must await or cancel it."""
    return asyncio.create_task(work, name=name)


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended; failures were the owner's to see."""
    alive = [task for task in tasks if task is not None]
    for task in alive:
        task.cancel()
    await asyncio.gather(*alive, return_exceptions=True)


class Worker:
    """A Service made of one coroutine. Subclasses write `run`; a crash makes it unready."""

    name = "worker"

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self.crashed = asyncio.Event()

    async def run(self) -> None:
        """The work; returns only when there is nothing left to do."""
        raise NotImplementedError

    async def start(self) -> None:
        if self._task is None:
            self._task = spawn(self._guarded(), self.name)

    async def ready(self) -> str | None:
        if self._task is None:
            return "not started"
        return "crashed" if self.crashed.is_set() else None

    async def stop(self) -> None:
        task, self._task = self._task, None
        await cancel(task)

    async def _guarded(self) -> None:
        try:
            await self.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("worker crashed", worker=self.name)
            self.crashed.set()


class Supervisor:
    """Starts services in order, stops them in reverse, and ends on a signal or a crash."""

    name = "supervisor"

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._started: list[Service] = []
        self._stop = asyncio.Event()

    async def start(self) -> None:
        for service in self._services:
            self._started.append(service)
            try:
                await service.start()
            except BaseException:
                await self.stop()
                raise

    async def ready(self) -> str | None:
        if len(self._started) < len(self._services):
            return "starting"
        for service in self._started:
            reason = await service.ready()
            if reason is not None:
                return f"{service.name}: {reason}"
        return None

    async def stop(self) -> None:
        started, self._started = self._started[::-1], []
        for service in started:
            try:
                await asyncio.wait_for(service.stop(), _STOP_DEADLINE_SECONDS)
            except TimeoutError:
                _log.error("service did not stop in time", part=service.name)
            except Exception:
                _log.exception("service failed to stop", part=service.name)

    def request_stop(self) -> None:
        self._stop.set()

    async def run(self) -> int:
        """Run until SIGTERM, SIGINT or a crash; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_stop)
        try:
            await self.start()
            _log.info("started")
            return await self._watch()
        finally:
            await self.stop()
            _log.info("stopped")

    async def _watch(self) -> int:
        crashes = [
            spawn(service.crashed.wait(), f"watch-{service.name}")
            for service in self._services
            if isinstance(service, Worker)
        ]
        stop = spawn(self._stop.wait(), "watch-stop")
        try:
            await asyncio.wait({stop, *crashes}, return_when=asyncio.FIRST_COMPLETED)
            return 0 if self._stop.is_set() else 1
        finally:
            await cancel(stop, *crashes)
