"""An instance in a bubblewrap sandbox: its own file system, process tree and throw-away /app.

bubblewrap reports to a plain file, because a file outlives the agent: it names the first process
of the sandbox's pid namespace, and holds the exit code for an agent that comes later.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from events.instances import InstanceSpec
from node.runtimes import processes, start_command
from node.runtimes.base import Handle, Paths
from node.runtimes.tools import tools
from zeitwork import clock, sandbox, subprocesses
from zeitwork.errors import TimedOut

_STATUS_SECONDS = 2.0  # it comes within milliseconds of the start
_POLL_SECONDS = 0.01
_KILL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """Instances in sandboxes.

    Attributes:
        die_with_agent: end each sandbox when the agent's process ends, however it ends.
    """

    die_with_agent: bool
    mode = "bubblewrap"

    async def launch(self, spec: InstanceSpec, paths: Paths, *, port: int | None) -> int:
        # No await in here: a cancellation cannot come between the start and its answer.
        with ExitStack() as closing:
            status = _open(closing, _status_file(paths.run), os.O_TRUNC)
            output = _open(closing, paths.log, os.O_APPEND)
            options = os.memfd_create("options")
            closing.callback(os.close, options)
            argv, content = sandbox.veiled(
                self._sandbox(spec, paths, port=port, status_fd=status),
                start_command.argv(spec.command),
                options_fd=options,
            )
            with os.fdopen(os.dup(options), "wb") as file:
                file.write(content)
            os.lseek(options, 0, os.SEEK_SET)
            return subprocesses.detach(argv, env={}, output_fd=output, pass_fds=(status, options))

    async def leaders(self, handle: Handle) -> list[int]:
        """The processes that are to end gracefully.

        bubblewrap itself would die of SIGTERM at once; the first process of the namespace, which
        is bubblewrap's too, ignores it.
        """
        first = await self._first_process(handle)
        if first is None:
            return []
        return list(processes.beneath_shells(processes.children(first)))

    async def destroy(self, handle: Handle) -> None:
        """Kill the first process of the namespace, and with it all others.

        Raises:
            TimedOut: the kernel did not end them.
        """
        if await self._first_process(handle) is None:
            _kill_half_started(handle)
        try:
            async with asyncio.timeout(_KILL_SECONDS):
                await self.purge(handle.run)
                if processes.alive(handle.pid, handle.birth):
                    await subprocesses.ended(handle.pid)
        except TimeoutError as error:
            raise TimedOut(f"instance {handle.instance_id} could not be killed") from error

    async def purge(self, run: Path) -> None:
        first = _first_process(_status(run))
        if first is not None:
            processes.send(first, signal.SIGKILL)
            await subprocesses.ended(first)

    def exit_code(self, handle: Handle) -> int | None:
        code = _status(handle.run).get("exit-code")
        return code if isinstance(code, int) else None

    def _sandbox(
        self, spec: InstanceSpec, paths: Paths, *, port: int | None, status_fd: int
    ) -> sandbox.Spec:
        return sandbox.Spec(
            app=paths.app,
            throwaway=True,
            env=start_command.environment(spec, app=sandbox.APP, port=port),
            tools=tools(),
            read_only=(sandbox.python_toolchain(),),
            die_with_parent=self.die_with_agent,
            status_fd=status_fd,
        )

    async def _first_process(self, handle: Handle) -> int | None:
        """The namespace's first process while it exists; waits for one that is being made."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STATUS_SECONDS):
                while "child-pid" not in _status(handle.run):
                    if not processes.alive(handle.pid, handle.birth):
                        break
                    await clock.sleep(_POLL_SECONDS)
        return _first_process(_status(handle.run))


def _first_process(status: dict[str, Any]) -> int | None:
    """Its host pid, checked against the namespace: a pid alone may be another's by now."""
    try:
        first, namespace = int(status["child-pid"]), int(status["pid-namespace"])
    except KeyError:
        return None
    return first if processes.in_namespace(first, namespace) else None


def _kill_half_started(handle: Handle) -> None:
    """End a bubblewrap that has not said what it started, and whatever that is."""
    if processes.alive(handle.pid, handle.birth):
        for pid in [*processes.children(handle.pid), handle.pid]:
            processes.send(pid, signal.SIGKILL)


def _open(closing: ExitStack, path: Path, flags: int) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    closing.callback(os.close, descriptor)
    return descriptor


def _status_file(run: Path) -> Path:
    return run / "status"


def _status(run: Path) -> dict[str, Any]:
    """The lines of the status file as one; a line that is still being written does not count."""
    found: dict[str, Any] = {}
    try:
        lines = _status_file(run).read_text(errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        with contextlib.suppress(ValueError):
            found.update(json.loads(line))
    return found
