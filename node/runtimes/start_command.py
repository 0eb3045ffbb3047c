"""What an instance is started with: the shell's argv and the environment; pure."""

from __future__ import annotations

import shlex
import string
from collections.abc import Sequence
from pathlib import Path

from events.instances import InstanceSpec
from zeitwork import sandbox

LOOPBACK = "127.0.0.1"
# `exec` cannot run these: they are the shell's own.
_SHELL_WORDS = frozenset({".", ":", "[", "cd", "command", "eval", "exec", "set", "source", "trap"})
_PLAIN_WORD = frozenset(string.ascii_letters + string.digits + "_./@%+-")


def argv(command: str) -> list[str]:
    """The shell that runs the start command, replaced by it where it is a single program.

    Debian's dash keeps waiting behind `sh -c PROGRAM`; the program then would get no signal that
    is sent to its parent, and its exit code would pass through the shell.
    """
    return ["/bin/sh", "-c", f"exec {command}" if _single_program(command) else command]


def environment(
    spec: InstanceSpec, *, app: str, port: int | None, path: Sequence[Path | str] = ()
) -> dict[str, str]:
    """The whole environment of an instance whose files it sees at `app`.

    The application may choose its own HOST, but not the PORT; without a port it has neither.
    """
    own = [f"{app}/{directory}" for directory in spec.path]
    toolchain = sandbox.python_toolchain() / "bin"
    variables = dict(spec.env)
    if port is not None:
        variables = {"HOST": LOOPBACK, **variables, "PORT": str(port)}
    return sandbox.environment(variables, path=[*own, *map(str, path), str(toolchain)])


def _single_program(command: str) -> bool:
    """True for words without operators, assignments or substitutions of commands."""
    if "\n" in command or "`" in command:
        return False
    try:
        words = list(shlex.shlex(command, posix=True, punctuation_chars=True))
    except ValueError:
        return False
    if not words or words[0] in _SHELL_WORDS or not set(words[0]) <= _PLAIN_WORD:
        return False
    return not any(set(word) <= set("();<>|&") for word in words)
