"""The Procfile: `name: command` lines that say what to run, never what language it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LINE = re.compile(r"(?P<name>[A-Za-z0-9_-]+)\s*:(?P<command>.*)")


@dataclass(frozen=True, slots=True)
class Procfile:
    """Commands by process name; `ignored` holds lines that are no declaration."""

    processes: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def web(self) -> str | None:
        return self.processes.get("web")


def parse(text: str) -> Procfile:
    """Understand what Heroku, Foreman and Dokku understand.

    Comments may fill a line or follow a command after a space; a name without a command declares
    nothing; of two lines with one name the later counts.
    """
    processes: dict[str, str] = {}
    ignored: list[str] = []
    for raw in text.removeprefix("\ufeff").splitlines():
        line = _without_comment(raw).strip()
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            ignored.append(line)
        elif command := match["command"].strip():
            processes[match["name"]] = command
    return Procfile(processes, tuple(ignored))


def _without_comment(line: str) -> str:
    """`line` up to a `#` that starts a word outside quotes, as a shell reads it."""
    quote, before = "", " "
    escaped = False
    for index, letter in enumerate(line):
        if escaped:
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and before.isspace():
            return line[:index]
        before = letter
    return line
