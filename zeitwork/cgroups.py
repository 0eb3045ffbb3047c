"""Control groups of Linux: limits for a whole tree of processes, and an end that none escapes.

Version 1 has a hierarchy for each controller; version 2 has one, in which a group that holds
processes has no children: there ours are made beside our own, which needs a delegated parent
(`Delegate=yes` with `DelegateSubgroup=` in a systemd unit). Machines with both limit by version 1
and kill by version 2. What the host does not allow is left out and named.
https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zeitwork import clock, logs

_log = logs.get(__name__)
_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_PARENT = "zeitwork"
_CONTROLLERS = ("memory", "cpu", "pids")
_PERIOD_US = 100_000
_ROUND_SECONDS = 0.01
_PATIENCE_SECONDS = 5.0
# Each argument up to `--` is a group to enter; the rest is the program.
_ENTER = (
    'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 126; shift; done; shift; exec "$@"'
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What all processes of a group may use together; swap counts as memory."""

    memory_bytes: int
    cpus: float
    processes: int


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where groups can be made, by controller; `unified` is version 2 beside version 1.

    Attributes:
        reason: why some controller is missing.
    """

    parents: Mapping[str, Path]
    unified: Path | None = None
    version: int = 1
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A group on this machine.

    Attributes:
        folders: its directories, one a hierarchy.
        lacks: the controllers that do not limit it.
    """

    folders: tuple[Path, ...]
    lacks: tuple[str, ...] = ()
    reason: str = ""

    def entered(self, argv: Sequence[str]) -> list[str]:
        """The argv that runs `argv` inside."""
        if not self.folders:
            return list(argv)
        return ["sh", "-c", _ENTER, "sh", *map(str, self.folders), "--", *argv]

    @property
    def out_of_memory(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        for name in ("memory.oom_control", "memory.events"):
            for folder in self.folders:
                for line in _lines(folder / name):
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return 0

    async def kill(self) -> None:
        """SIGKILL to everything in it, until there is nothing."""
        deadline = clock.monotonic() + _PATIENCE_SECONDS
        while alive := self._kill():
            if clock.monotonic() > deadline:
                _log.error("processes of a group do not end", group=self._name, pids=sorted(alive))
                return
            await clock.sleep(_ROUND_SECONDS)

    async def remove(self) -> None:
        """End what runs in it and take it away."""
        await self.kill()
        deadline = clock.monotonic() + _PATIENCE_SECONDS
        for folder in self.folders:
            while not _removed(folder):
                if clock.monotonic() > deadline:
                    _log.warning("group not removed", group=self._name)
                    return
                await clock.sleep(_ROUND_SECONDS)

    @property
    def _name(self) -> str:
        return self.folders[0].name if self.folders else ""

    def _kill(self) -> set[int]:
        alive = {int(pid) for folder in self.folders for pid in _lines(folder / "cgroup.procs")}
        if alive:
            for folder in self.folders:
                switch = folder / "cgroup.kill"
                if switch.exists():
                    _write(switch, "1")
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        return alive


def here() -> Hierarchy:
    """What this machine allows this process."""
    return hierarchy("\n".join(_lines(_OWN)), root=_ROOT)


def hierarchy(own: str, *, root: Path) -> Hierarchy:
    """What a process may make below `root`, whose /proc/self/cgroup says `own`."""
    places = [line.split(":", 2)[1:] for line in own.splitlines() if line.count(":") > 1]
    if (root / "cgroup.controllers").exists():
        path = next((path for controllers, path in places if not controllers), "/")
        return _second(root, root / path.lstrip("/"))
    parents, unified = {}, None
    for controllers, path in places:
        if not controllers:
            unified = _usable(root / "unified", path)
        for controller in set(controllers.split(",")) & set(_CONTROLLERS):
            found = _usable(root / controller, path)
            if found is not None:
                parents[controller] = found
    reason = "" if len(parents) == len(_CONTROLLERS) else "their hierarchies are not writable"
    return Hierarchy(parents, unified, version=1, reason=reason)


def create(name: str, limits: Limits, *, within: Hierarchy) -> Group:
    """A new group; without any folder where the host allows none."""
    folders: dict[Path, None] = {}
    lacks, reason = [], within.reason
    for controller in _CONTROLLERS:
        parent = within.parents.get(controller)
        try:
            if parent is None:
                lacks.append(controller)
                continue
            folder = _made(parent, name, version=within.version)
            _limit(folder, controller, limits, version=within.version)
            folders[folder] = None
        except OSError as error:
            lacks.append(controller)
            reason = f"{error.strerror}: {error.filename}"
    if within.unified is not None:
        with contextlib.suppress(OSError):
            folders[_made(within.unified, name, version=1)] = None
    return Group(tuple(folders), tuple(lacks), reason)


def left(name: str, *, within: Hierarchy) -> Group:
    """The group of that name that a killed process may have left."""
    parents = {*within.parents.values(), *([within.unified] if within.unified else [])}
    folders = [parent / _PARENT / name for parent in parents]
    return Group(tuple(folder for folder in folders if folder.is_dir()))


def _second(root: Path, own: Path) -> Hierarchy:
    parent = own.parent
    if own == root or not parent.is_relative_to(root):
        return Hierarchy({}, version=2, reason="this process has no group of its own")
    delegated = " ".join(_lines(parent / "cgroup.subtree_control")).split()
    if not os.access(parent, os.W_OK):
        return Hierarchy({}, version=2, reason="the group above ours is not delegated to us")
    found = {each: parent for each in _CONTROLLERS if each in delegated}
    missing = [each for each in _CONTROLLERS if each not in found]
    reason = f"not delegated: {', '.join(missing)}" if missing else ""
    return Hierarchy(found, version=2, reason=reason)


def _usable(mount: Path, path: str) -> Path | None:
    """The directory of our own group, or of the root that a container shows instead."""
    own = mount / path.lstrip("/")
    found = own if own.is_dir() else mount
    return found if found.is_dir() and os.access(found, os.W_OK) else None


def _made(parent: Path, name: str, *, version: int) -> Path:
    above = parent / _PARENT
    above.mkdir(exist_ok=True)
    if version == 2:  # noqa: PLR2004 - the second version
        wanted = set(_CONTROLLERS) & set(" ".join(_lines(above / "cgroup.controllers")).split())
        (above / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in wanted))
    folder = above / name
    folder.mkdir(exist_ok=True)
    return folder


def _limit(folder: Path, controller: str, limits: Limits, *, version: int) -> None:
    quota = max(1000, int(limits.cpus * _PERIOD_US))
    first = version == 1
    match controller:
        case "memory":
            memory = str(limits.memory_bytes)
            (folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(memory)
            swap = folder / ("memory.memsw.limit_in_bytes" if first else "memory.swap.max")
            if swap.exists():
                swap.write_text(memory if first else "0")
        case "cpu" if first:
            (folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(quota))
        case "cpu":
            (folder / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
        case _:
            (folder / "pids.max").write_text(str(limits.processes))


def _lines(path: Path) -> Iterable[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # gone, or not of this version
        return []


def _write(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):  # gone meanwhile
        path.write_text(text)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
