"""Keeps programs running: starts them together, restarts what ends, stops them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from cli.backoff import Backoff
from cli.leftovers import Leftovers
from cli.program import Program
from zeitwork import clock, logs, service
from zeitwork.errors import ZeitworkError

_log = logs.get(__name__)


class Keeper:
    """Keeps one program running; a Service.

    The first start must succeed. From then on every end is followed by a new start after a
    growing delay, until `stop`.

    Attributes:
        restarts: launches after the first.
    """

    def __init__(self, program: Program, *, leftovers: Leftovers) -> None:
        self._program = program
        self._leftovers = leftovers
        self._backoff = Backoff()
        self._launched_at = 0.0
        self._task: asyncio.Task[Any] | None = None
        self.restarts = 0

    @property
    def name(self) -> str:
        return self._program.name

    @property
    def program(self) -> Program:
        return self._program

    async def start(self) -> None:
        """Launch, wait until ready, and keep it from then on.

        Raises:
            ZeitworkError: it did not come up; see Program.launch and Program.wait_ready.
        """
        try:
            await self._run_until_ready()
        except BaseException:
            await self.stop()
            raise
        self._task = service.spawn(self._keep(), f"keep-{self.name}")

    async def ready(self) -> str | None:
        return await self._program.ready()

    async def stop(self) -> None:
        task, self._task = self._task, None
        await service.cancel(task)
        await self._program.stop()
        self._leftovers.forget(self._program)

    async def _keep(self) -> None:
        while True:
            try:
                if self._program.pid is None:
                    self.restarts += 1
                    await self._run_until_ready()
                    _log.warning("program is ready again", part=self.name)
                reason = f"ended with {await self._program.wait()}"
            except ZeitworkError as error:
                reason = error.message
            # What it left in its group goes too, before its successor starts.
            await self._program.stop()
            delay = self._backoff.after(clock.monotonic() - self._launched_at)
            _log.error(
                "program failed", part=self.name, reason=reason, restart_in_seconds=round(delay, 2)
            )
            await clock.sleep(delay)

    async def _run_until_ready(self) -> None:
        self._launched_at = clock.monotonic()
        await self._program.launch()
        self._leftovers.record(self._program)
        await self._program.wait_ready()


class Supervision:
    """Programs in the order in which they depend on each other."""

    def __init__(self, leftovers: Leftovers) -> None:
        self._leftovers = leftovers
        self._keepers: list[Keeper] = []

    @property
    def keepers(self) -> Sequence[Keeper]:
        return self._keepers

    async def start(self, *programs: Program) -> None:
        """Start programs that do not need each other; return when all are ready.

        Raises:
            ZeitworkError: one did not come up; the others keep running until `stop`.
        """
        keepers = [Keeper(program, leftovers=self._leftovers) for program in programs]
        self._keepers += keepers
        starts = [service.spawn(keeper.start(), f"start-{keeper.name}") for keeper in keepers]
        try:
            done, _ = await asyncio.wait(starts, return_when=asyncio.FIRST_EXCEPTION)
            for start in done:
                start.result()
        finally:
            await service.cancel(*starts)

    async def stop(self) -> None:
        """Stop everything, the last started first."""
        while self._keepers:
            keeper = self._keepers[-1]
            await keeper.stop()
            self._keepers.pop()

    def kill(self) -> None:
        """SIGKILL to every program; `stop` then has nothing to wait for."""
        for keeper in self._keepers:
            keeper.program.kill()
