"""Instances as processes of this machine: sandboxed where the host allows it, plain elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Protocol

from events.instances import InstanceSpec
from node.runtimes import processes
from node.runtimes.base import Handle, Paths
from node.runtimes.bubblewrap import Bubblewrap
from node.runtimes.plain import Plain
from zeitwork import logs, sandbox, subprocesses
from zeitwork.config import NodeSettings

_log = logs.get(__name__)


class _Confinement(Protocol):
    """How a process is kept apart from the host."""

    @property
    def mode(self) -> str: ...

    async def launch(self, spec: InstanceSpec, paths: Paths, *, port: int | None) -> int: ...

    async def leaders(self, handle: Handle) -> list[int]: ...

    async def destroy(self, handle: Handle) -> None: ...

    async def purge(self, run: Path) -> None: ...

    def exit_code(self, handle: Handle) -> int | None: ...


class ProcessRuntime:
    """Starts, adopts and ends processes; they outlive the agent when the settings say so."""

    name = "process"

    def __init__(self, settings: NodeSettings, directory: Path) -> None:
        """`directory` is on the file system that holds artifacts; the sandbox is tried on it."""
        self._settings = settings
        self._directory = directory
        bubblewrap = Bubblewrap(die_with_agent=not settings.keep_instances)
        self._confinement: _Confinement = bubblewrap
        self._by_mode: dict[str, _Confinement] = {bubblewrap.mode: bubblewrap, Plain.mode: Plain()}
        self._codes: dict[tuple[int, str], int] = {}

    @property
    def mode(self) -> str:
        return self._confinement.mode

    async def open(self) -> None:
        if self._settings.sandbox == "off":
            self._confinement = self._by_mode[Plain.mode]
            return
        reason = await sandbox.why_unavailable(self._directory)
        if reason is not None:
            _log.warning("instances run without a sandbox", reason=reason)
            self._confinement = self._by_mode[Plain.mode]

    async def start(self, spec: InstanceSpec, paths: Paths, *, port: int | None) -> Handle:
        pid = await self._confinement.launch(spec, paths, port=port)
        born = processes.birth(pid)
        assert born is not None  # noqa: S101 - an ended child keeps its pid until we reap it
        return Handle(
            instance_id=spec.instance_id,
            pid=pid,
            birth=born,
            mode=self.mode,
            port=port,
            run=paths.run,
        )

    async def adopt(self, handle: Handle) -> bool:
        return handle.mode in self._by_mode and processes.alive(handle.pid, handle.birth)

    async def wait(self, handle: Handle) -> int | None:
        if processes.alive(handle.pid, handle.birth):
            await subprocesses.ended(handle.pid)
        return self._exit_code(handle)

    async def stop(self, handle: Handle, *, grace_seconds: float) -> int | None:
        confinement = self._by_mode[handle.mode]
        if processes.alive(handle.pid, handle.birth):
            leaders = await confinement.leaders(handle)
            for pid in leaders:
                processes.send(pid, signal.SIGTERM)
            if leaders:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace_seconds):
                        await self.wait(handle)
        await confinement.destroy(handle)
        code = self._exit_code(handle)
        self._codes.pop((handle.pid, handle.birth), None)
        return code

    async def purge(self, run: Path) -> None:
        for confinement in self._by_mode.values():
            await confinement.purge(run)

    def _exit_code(self, handle: Handle) -> int | None:
        """What the sandbox noted, else what its parent, if we are it, learns by reaping."""
        key = (handle.pid, handle.birth)
        if processes.birth(handle.pid) == handle.birth:
            code = processes.reap(handle.pid)
            if code is not None:
                self._codes[key] = code
        noted = self._by_mode[handle.mode].exit_code(handle)
        return noted if noted is not None else self._codes.get(key)
