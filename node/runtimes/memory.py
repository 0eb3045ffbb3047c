"""Instances as coroutines of this process, for tests: a start command names a program."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from events.instances import InstanceSpec
from node.runtimes import start_command
from node.runtimes.base import Handle, Paths
from zeitwork.service import cancel, spawn

NOT_FOUND = 127  # as a shell says it
KILLED = 137


@dataclass(slots=True)
class Running:
    """What a program sees of its instance.

    Attributes:
        terminated: set when it is asked to end.
    """

    env: Mapping[str, str]
    paths: Paths
    port: int | None
    terminated: asyncio.Event = field(default_factory=asyncio.Event)

    def print(self, line: str) -> None:
        with self.paths.log.open("a") as file:
            file.write(f"{line}\n")


Program = Callable[[Running], Awaitable[int]]


class MemoryRuntime:
    """Runs `programs` by name; their instances end with this object's event loop."""

    name = "memory"
    mode = "memory"

    def __init__(self, programs: Mapping[str, Program]) -> None:
        self._programs = programs
        self._tasks: dict[int, asyncio.Task[int]] = {}
        self._running: dict[int, Running] = {}

    async def open(self) -> None:
        """Every machine will do."""

    async def start(self, spec: InstanceSpec, paths: Paths, *, port: int | None) -> Handle:
        running = Running(start_command.environment(spec, app="/app", port=port), paths, port)
        pid = len(self._tasks) + 1
        self._running[pid] = running
        self._tasks[pid] = spawn(self._run(spec.command, running), f"instance-{spec.instance_id}")
        return Handle(
            instance_id=spec.instance_id,
            pid=pid,
            birth="",
            mode=self.mode,
            port=port,
            run=paths.run,
        )

    async def adopt(self, handle: Handle) -> bool:
        return handle.pid in self._tasks and not self._tasks[handle.pid].done()

    async def wait(self, handle: Handle) -> int | None:
        task = self._tasks.get(handle.pid)
        if task is None:
            return None
        await asyncio.wait({task})
        return KILLED if task.cancelled() else task.result()

    async def stop(self, handle: Handle, *, grace_seconds: float) -> int | None:
        task = self._tasks.get(handle.pid)
        if task is None:
            return None
        self._running[handle.pid].terminated.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                return await self.wait(handle)
        await cancel(task)
        return await self.wait(handle)

    async def purge(self, run: Path) -> None:
        """An agent of this process always has time to note what it started."""

    async def _run(self, command: str, running: Running) -> int:
        program = self._programs.get(command)
        if program is None:
            running.print(f"sh: {command}: not found")
            return NOT_FOUND
        return await program(running)
