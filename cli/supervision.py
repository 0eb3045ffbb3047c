"""Keeps programs running: starts them together, restarts what ends, stops them in reverse."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from cli.backoff import Backoff
from cli.leftovers import Leftovers
from cli.program import Program
from cli.together import together
from zeitwork import clock, logs
from zeitwork.errors import ZeitworkError
from zeitwork.service import Worker

_log = logs.get(__name__)


class Keeper(Worker):
    """Keeps one program running.

    The first start must succeed. From then on every end is followed by a new start after a
    growing delay, until `release` or `stop`.

    Attributes:
        restarts: launches after the first.
    """

    def __init__(self, program: Program, *, leftovers: Leftovers) -> None:
        super().__init__()
        self.name = program.name
        self.program = program
        self.restarts = 0
        self._leftovers = leftovers
        self._backoff = Backoff()
        self._launched_at = 0.0

    @override
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
        await super().start()

    @override
    async def ready(self) -> str | None:
        return await self.program.ready()

    async def release(self) -> None:
        """Let the program end when it ends."""
        await super().stop()

    @override
    async def stop(self) -> None:
        await self.release()
        await self.program.stop()
        self._leftovers.forget(self.program)

    @override
    async def run(self) -> None:
        while True:
            try:
                if self.program.pid is None:
                    self.restarts += 1
                    await self._run_until_ready()
                    _log.warning("program is ready again", part=self.name)
                reason = f"ended with {await self.program.wait()}"
            except (ZeitworkError, OSError) as error:
                reason = str(error)
            # What it left in its group goes too, before its successor starts.
            await self.program.stop()
            delay = self._backoff.after(clock.monotonic() - self._launched_at)
            _log.error(
                "program failed", part=self.name, reason=reason, restart_in_seconds=round(delay, 2)
            )
            await clock.sleep(delay)

    async def _run_until_ready(self) -> None:
        self._launched_at = clock.monotonic()
        await self.program.launch()
        self._leftovers.record(self.program)
        await self.program.wait_ready()


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
            ZeitworkError: one did not come up; those that did keep running until `stop`.
        """
        keepers = [Keeper(program, leftovers=self._leftovers) for program in programs]
        self._keepers += keepers
        await together(*(keeper.start() for keeper in keepers))

    async def stop(self) -> None:
        """Stop everything, the last started first; one that resists does not keep the others."""
        for keeper in self._keepers:
            await keeper.release()
        for keeper in reversed(self._keepers):
            try:
                await keeper.stop()
            except (ZeitworkError, OSError) as error:
                _log.error("program did not stop", part=keeper.name, reason=str(error))
        self._keepers.clear()

    def kill(self) -> None:
        """SIGKILL to every program; `stop` then has nothing to wait for."""
        for keeper in self._keepers:
            keeper.program.kill()
