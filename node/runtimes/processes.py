"""What /proc says about a process, and signals that reach the right one. Linux only."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_SHELLS = frozenset({"sh", "dash", "bash", "ash", "busybox"})
_MOST_SHELLS = 8  # levels of shells in shells; more is not a start command
# Fields of /proc/<pid>/stat behind the command, see proc_pid_stat(5).
_STATE, _START_TIME = 0, 19


def birth(pid: int) -> str | None:
    """Tells the process from any other that ever has this pid; None when there is none.

    The start time in clock ticks since boot, unlike a wall-clock time, never shifts.
    """
    fields = _stat(pid)
    return None if fields is None else _birth(fields)


def alive(pid: int, born: str) -> bool:
    """True while that very process runs; one that waits to be reaped does not."""
    fields = _stat(pid)
    return fields is not None and fields[_STATE] not in {"Z", "X"} and _birth(fields) == born


def in_namespace(pid: int, pid_namespace: int) -> bool:
    """True when the process runs in the pid namespace with this inode number."""
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino == pid_namespace
    except OSError:
        return False


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found


def with_variable(name: str, value: str) -> list[int]:
    """The processes that were started with this environment variable, as far as we may see it."""
    wanted = f"{name}={value}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def beneath_shells(pids: list[int], depth: int = _MOST_SHELLS) -> Iterator[int]:
    """The processes that are meant by a signal to `pids`: for a shell, what it waits for.

    A shell dies of SIGTERM without passing it on, and its program would not end gracefully.
    """
    for pid in pids:
        below = children(pid) if depth and _command(pid) in _SHELLS else []
        if below:
            yield from beneath_shells(below, depth - 1)
        else:
            yield pid


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_session(leader: int, born: str) -> None:
    """SIGKILL to what is left of the process group of a session's leader, dead or alive."""
    if birth(leader) in {None, born}:  # else the pid, and with it the group, is another's
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)


def reap(pid: int) -> int | None:
    """The exit code of an ended child of ours, 128 + n for signal n; None for another's child."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    if found == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def _birth(fields: list[str]) -> str:
    return f"{_boot()}/{fields[_START_TIME]}"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@functools.cache
def _boot() -> str:
    """Pids and start times begin anew with each boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
