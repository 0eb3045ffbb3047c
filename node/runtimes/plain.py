"""An instance without a sandbox, for hosts that allow none: a session and a copy of the artifact.

It protects the artifact, not the host: the application may read what the agent may read. Paths of
the sandbox that a start command names are rewritten; compiled-in ones are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from pathlib import Path

from events.instances import InstanceKind, InstanceSpec
from node.runtimes import processes, start_command
from node.runtimes.base import Handle, Paths
from node.runtimes.tools import tools
from zeitwork import sandbox, subprocesses
from zeitwork.errors import InvalidInput, TimedOut

# Notes the exit code for an agent that is not the parent.
_NOTING = 'f=$1; shift; "$@"; c=$?; echo $c >"$f.new" && mv "$f.new" "$f"; exit $c'
_COPY_SECONDS = 120.0
_KILL_SECONDS = 10.0


class Plain:
    """Instances as ordinary processes."""

    mode = "plain"

    async def launch(self, spec: InstanceSpec, paths: Paths, *, port: int | None) -> int:
        app, bin_ = paths.run / "app", paths.run / "bin"
        await asyncio.to_thread(_clear, paths.run)
        await subprocesses.check(
            ["cp", "-a", "--reflink=auto", str(paths.app), str(app)], timeout=_COPY_SECONDS
        )
        _link_tools(bin_)
        _home(paths.run).mkdir(exist_ok=True)
        here = {sandbox.TOOLS: str(bin_), sandbox.APP: str(app)}
        env = start_command.environment(spec, app=str(app), port=port, path=[bin_])
        env = {name: _relocated(value, here) for name, value in env.items()}
        env["HOME"] = str(_home(paths.run))
        command = _relocated(spec.command, here)
        if "\0" in command or any("\0" in name + value for name, value in env.items()):
            raise InvalidInput("the command or an environment variable holds a NUL character")
        # No await from here on: a cancellation cannot come between the start and its answer.
        output = os.open(paths.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return subprocesses.detach(
                self._argv(spec, command, paths.run), env=env, output_fd=output, cwd=app
            )
        finally:
            os.close(output)

    async def leaders(self, handle: Handle) -> list[int]:
        return list(processes.beneath_shells([handle.pid]))

    async def destroy(self, handle: Handle) -> None:
        """Kill the process group and remove the copy.

        Raises:
            TimedOut: the kernel did not end it.
        """
        processes.kill_session(handle.pid, handle.birth)
        if processes.alive(handle.pid, handle.birth):
            try:
                async with asyncio.timeout(_KILL_SECONDS):
                    await subprocesses.ended(handle.pid)
            except TimeoutError as error:
                raise TimedOut(f"instance {handle.instance_id} could not be killed") from error
        await asyncio.to_thread(_clear, handle.run)

    async def purge(self, run: Path) -> None:
        """Kill the processes that were given this directory as their home."""
        for pid in processes.with_variable("HOME", str(_home(run))):
            processes.send(pid, signal.SIGKILL)
            await subprocesses.ended(pid)

    def exit_code(self, handle: Handle) -> int | None:
        """Of a release command; other processes tell only their parent."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(_code_file(handle.run).read_bytes())
        return None

    def _argv(self, spec: InstanceSpec, command: str, run: Path) -> list[str]:
        argv = start_command.argv(command)
        if spec.kind is not InstanceKind.RELEASE:
            return argv
        return ["/bin/sh", "-c", _NOTING, "sh", str(_code_file(run)), *argv]


def _code_file(run: Path) -> Path:
    return run / "exit-code"


def _home(run: Path) -> Path:
    return run / "home"


def _relocated(text: str, here: dict[str, str]) -> str:
    places = "|".join(re.escape(there) for there in here)
    return re.sub(rf"(?<![\w./-])({places})(?![\w.-])", lambda found: here[found[0]], text)


def _link_tools(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    for name, program in tools().items():
        (directory / name).symlink_to(program)


def _clear(run: Path) -> None:
    for name in ("app", "bin", "home"):
        shutil.rmtree(run / name, ignore_errors=True)
