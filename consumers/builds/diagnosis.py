"""What the end of a failed command says about the cause. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass

from consumers.builds.failures import (
    BuildOutOfDisk,
    DependencyUnavailable,
    LockFileOutdated,
    NodeVersionMissing,
    PythonVersionMissing,
)
from zeitwork.errors import BuildCommandFailed, BuildFailed, BuildOutOfMemory

_SIGNALLED = 128  # what shells add to the number of the signal that ended a program
_MOST_SIGNAL = 64
_QUOTED_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended.

    Attributes:
        returncode: below zero, or above 128, when a signal ended it.
        lines: its last lines of output, the newest last.
        memory_mib: what it was allowed.
        out_of_memory: the kernel has ended a process of it for want of memory.
    """

    command: str
    returncode: int
    lines: tuple[str, ...]
    memory_mib: int
    out_of_memory: bool = False

    @property
    def signal(self) -> int | None:
        number = -self.returncode if self.returncode < 0 else self.returncode - _SIGNALLED
        return number if 0 < number <= _MOST_SIGNAL else None


@dataclass(frozen=True, slots=True)
class _Cause:
    failure: type[BuildFailed]
    advice: str
    pattern: re.Pattern[str]
    signals: frozenset[int] = frozenset()


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


# In this order: what runs out breaks other things on its way, and is the cause of them.
_CAUSES = (
    _Cause(
        BuildOutOfDisk,
        "The build wrote more than it may. Make it write less, or build less at once.",
        _words(r"No space left on device", r"\bENOSPC\b", r"File too large", r"\bEFBIG\b"),
        frozenset({signal.SIGXFSZ}),
    ),
    _Cause(
        BuildOutOfMemory,
        "The build wanted more than the {memory} MiB of memory that it may have. Let it use fewer "
        "workers, or have the operator raise ZEITWORK_CONSUMERS__BUILD_MEMORY_MIB.",
        _words(
            r"JavaScript heap out of memory", r"^MemoryError\b", r"Cannot allocate memory",
            r"\bENOMEM\b", r"std::bad_alloc", r"\b[Oo]ut of memory\b",
            r"memory allocation of \d+ bytes failed",
        ),
        frozenset({signal.SIGKILL}),
    ),
    _Cause(
        LockFileOutdated,
        "The lock file does not match what it locks. Run {lock} and commit the result.",
        _words(
            r"lockfile at .* needs to be updated", r"Unable to find lockfile at",
            r"can only install packages when your package\.json and .* are in sync",
            r"can only install with an existing package-lock\.json", r"Failed to parse `uv\.lock`",
        ),
    ),
    _Cause(
        PythonVersionMissing,
        "The repository asks for a Python that this machine does not have. Widen requires-python.",
        _words(
            r"No interpreter found for", r"incompatible with the project'?s? Python requirement",
            r"does not satisfy Python\s*[<>=!~]",
        ),
    ),
    _Cause(
        NodeVersionMissing,
        "A package asks for another Node.js. Choose a version of it that runs on this one.",
        _words(r"npm (?:error|ERR!) code EBADENGINE"),
    ),
    _Cause(
        DependencyUnavailable,
        "A dependency could not be fetched. Check its name and version; if it is private, give the "
        "build access to it, or put it into the repository.",
        _words(
            r"npm (?:error|ERR!) code (?:E40[134]|ETARGET|ENOVERSIONS)",
            r"npm (?:error|ERR!) code (?:ENOTFOUND|EAI_AGAIN|ECONN\w+|ETIMEDOUT)",
            r"npm (?:error|ERR!) (?:code 128|.*(?:git|ssh)://)", r"Failed to (?:fetch|download)",
            r"error sending request", r"was not found in the package registry",
            r"was not found in the provided package locations", r"there (?:is|are) no versions? of",
            r"HTTP status (?:client|server) error", r"Git operation failed",
            r"could not read Username", r"Permission denied \(publickey",
            r"Distribution not found at", r"no matching distribution",
        ),
    ),
)  # fmt: skip
_LOCK_COMMANDS = {"uv": "`uv lock`", "npm": "`npm install`"}


def diagnose(ending: Ending) -> BuildFailed:
    """The error that says what went wrong, as exactly as the output tells."""
    for cause in _CAUSES:
        if ending.out_of_memory and cause.failure is not BuildOutOfMemory:
            continue
        line = next((line for line in ending.lines if cause.pattern.search(line)), None)
        if line is not None or ending.signal in cause.signals or ending.out_of_memory:
            return _told(cause, ending, line)
    how = f"ended with exit code {ending.returncode}"
    if ending.signal is not None:
        how = f"was ended by signal {ending.signal} (it may use {ending.memory_mib} MiB)"
    return BuildCommandFailed(f"`{ending.command}` {how}.{_quoted(_last(ending.lines))}")


def _told(cause: _Cause, ending: Ending, line: str | None) -> BuildFailed:
    lock = _LOCK_COMMANDS.get(ending.command.partition(" ")[0], "the installer")
    advice = cause.advice.format(memory=ending.memory_mib, lock=lock)
    said = f": {line.strip()[:_QUOTED_CHARACTERS]}" if line else ""
    return cause.failure(f"`{ending.command}` failed{said}. {advice}")


def _last(lines: Iterable[str]) -> str:
    return next((line.strip() for line in reversed([*lines]) if line.strip()), "")


def _quoted(line: str) -> str:
    return f" Its last line was: {line[:_QUOTED_CHARACTERS]}" if line else ""
