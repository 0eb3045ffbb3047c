"""A program that runs beside us: launched, waited for until it answers, watched, stopped."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cli import tether
from cli.lines import Lines
from zeitwork import clock, subprocesses
from zeitwork.errors import ProgramFailed, TimedOut

Sink = Callable[[str], None]
_TAIL_LINES = 15
_PROBE_SECONDS = 2.0
_DRAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute.

    Attributes:
        env: without it the program inherits ours.
        wrapper: put before `argv`; replaces itself by what follows.
    """

    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    wrapper: Sequence[str] = ()


class Program(abc.ABC):
    """A Service in a process of its own. Its output goes to `sink`, line by line.

    Attributes:
        stop_signal: asks it to end in an orderly way.
        grace_seconds: time for that, before the whole group is killed.
        ready_within_seconds: time from launch to the first good answer.
        poll_seconds: time between two questions until then.
    """

    stop_signal = signal.SIGTERM
    grace_seconds = 10.0
    ready_within_seconds = 30.0
    poll_seconds = 0.02

    def __init__(self, name: str, *, sink: Sink) -> None:
        self._name = name
        self._sink = sink
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._lines: Lines | None = None

    @abc.abstractmethod
    async def command(self) -> Command:
        """Prepare what it needs; what to execute."""

    @abc.abstractmethod
    async def probe(self) -> str | None:
        """None when it does its work, else the reason why not; OSError counts as one."""

    async def settle(self) -> None:  # noqa: B027 - most programs have nothing to do here
        """Work to do after each launch, between the first good answer and "started"."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def pid(self) -> int | None:
        """Its process id, also its process group; None when it is not launched."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Launch and wait; see `launch` and `wait_ready` for what they raise."""
        try:
            await self.launch()
            await self.wait_ready()
        except BaseException:
            await self.stop()
            raise

    async def launch(self) -> None:
        """Execute it; nothing happens while it runs.

        Raises:
            HostUnsupported: it cannot be executed here.
        """
        if self._process is not None:
            if self._process.returncode is None:
                return
            await self.stop()
        command = await self.command()
        argv = [*command.wrapper, *await tether.prefix(self.stop_signal), *command.argv]
        self._tail.clear()
        self._lines = Lines(self._keep)
        write_end = await self._lines.open()
        try:
            self._process = await subprocesses.start(argv, env=command.env, stdout=write_end)
        finally:
            os.close(write_end)

    async def wait_ready(self) -> None:
        """Return when it answers.

        Raises:
            ProgramFailed: it ended; the message holds the end of its output.
            TimedOut: it did not answer within `ready_within_seconds`.
        """
        deadline = clock.monotonic() + self.ready_within_seconds
        while (reason := await self.ready()) is not None:
            if self._process is None or self._process.returncode is not None:
                await self._drain()
                raise ProgramFailed(f"{self._name} {reason} while starting{self._last_words()}")
            if clock.monotonic() > deadline:
                raise TimedOut(
                    f"{self._name} is not ready after {self.ready_within_seconds:g} s: "
                    f"{reason}{self._last_words()}"
                )
            await clock.sleep(self.poll_seconds)
        await self.settle()

    async def ready(self) -> str | None:
        if self._process is None:
            return "is not running"
        if self._process.returncode is not None:
            return f"ended with {self._process.returncode}"
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                return await self.probe()
        except TimeoutError:
            return "does not answer"
        except OSError as error:
            return f"does not answer: {error}"

    async def wait(self) -> int:
        """Its exit code, once it has ended.

        Raises:
            ProgramFailed: it was not launched.
        """
        if self._process is None:
            raise ProgramFailed(f"{self._name} is not running")
        return await self._process.wait()

    async def stop(self) -> None:
        process = self._process
        try:
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(self.stop_signal)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), self.grace_seconds)
        finally:
            if process is not None:
                await subprocesses.kill_tree(process)
            await self._drain()
            self._process = None

    def kill(self) -> None:
        """SIGKILL to its whole group; `stop` or `wait` then return at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _keep(self, line: str) -> None:
        self._tail.append(line)
        # A full disk must not stop the reading: the pipe would fill and the program would block.
        with contextlib.suppress(OSError):
            self._sink(line)

    async def _drain(self) -> None:
        lines, self._lines = self._lines, None
        if lines is not None:
            await lines.close(within_seconds=_DRAIN_SECONDS)

    def _last_words(self) -> str:
        return "; its last words:\n" + "\n".join(self._tail) if self._tail else ""
