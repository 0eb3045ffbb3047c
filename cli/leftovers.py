"""What a killed `zeitwork up` left running, and the end of it.

Every launched process is written down with its start time. The next start ends those that still
run; the start time tells them from strangers that were given the same number since.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cli import private_files
from cli.program import Program
from zeitwork import clock, logs
from zeitwork.errors import HostUnsupported

_log = logs.get(__name__)
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.05
# psutil counts from the boot time, which moves a little when the clock is set. No number comes
# round again this fast.
_START_TIME_TOLERANCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Launched:
    """A process of ours: `signal` asks it to end; `started` is its start time (Unix, seconds)."""

    name: str
    pid: int
    started: float
    signal: int


class Leftovers:
    """The list of launched processes, in launch order, on disk."""

    def __init__(self, path: Path, *, grace_seconds: float = _GRACE_SECONDS) -> None:
        self._path = path
        self._grace_seconds = grace_seconds
        self._launched: dict[str, Launched] = {}

    def record(self, program: Program) -> None:
        """Write down what `program` runs as now, in place of what it ran as before."""
        assert program.pid is not None  # noqa: S101 - it was launched
        try:
            started = psutil.Process(program.pid).create_time()
        except psutil.NoSuchProcess:  # it has ended, and is nobody's to find
            return
        # A program that was restarted keeps its place in the order.
        self._launched[program.name] = Launched(
            program.name, program.pid, started, program.stop_signal
        )
        self._save()

    def forget(self, program: Program) -> None:
        """The program has ended for good."""
        if self._launched.pop(program.name, None) is not None:
            self._save()

    async def end(self) -> list[str]:
        """End what an earlier run left, the last launched first; the names of what was found.

        Raises:
            HostUnsupported: a process did not end even when killed.
        """
        found = [
            (launched, process)
            for launched in reversed(self._read())
            if (process := _still_running(launched)) is not None
        ]
        for launched, process in found:
            _log.warning("ending a process of an earlier run", part=launched.name, pid=process.pid)
            await self._end(process, launched.signal)
        self._path.unlink(missing_ok=True)
        return [launched.name for launched, _ in found]

    async def _end(self, process: psutil.Process, number: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        if await self._ends(process):
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if not await self._ends(process):
            raise HostUnsupported(
                f"process {process.pid} of an earlier run cannot be ended; end it by hand"
            )

    async def _ends(self, process: psutil.Process) -> bool:
        """Whether it ends in time. It is no child of ours, so there is nothing to wait on."""
        deadline = clock.monotonic() + self._grace_seconds
        while not _has_ended(process):
            if clock.monotonic() > deadline:
                return False
            await clock.sleep(_POLL_SECONDS)
        return True

    def _read(self) -> list[Launched]:
        try:
            return [Launched(**item) for item in json.loads(self._path.read_text())]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError):
            _log.warning("list of launched processes is unreadable", path=str(self._path))
            return []

    def _save(self) -> None:
        items = [asdict(launched) for launched in self._launched.values()]
        private_files.write(self._path, json.dumps(items))


def _still_running(launched: Launched) -> psutil.Process | None:
    try:
        process = psutil.Process(launched.pid)
        apart = abs(process.create_time() - launched.started)
    except psutil.NoSuchProcess:
        return None
    return None if apart > _START_TIME_TOLERANCE_SECONDS or _has_ended(process) else process


def _has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or only waits for a parent (init, in some containers) that never asks."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
