"""Where a key stands in the text of a TOML file, which parsers do not tell. Pure.

Right for keys on lines of their own, below the header of their table; for what is written in one
line, such as inline tables, the line of the nearest key above is told.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

Path = tuple[int | str, ...]

_HEADER = re.compile(r"\s*(?P<open>\[\[?)(?P<keys>[^\[\]]+)\]\]?\s*(?:#.*)?")
_KEYS = re.compile(
    r"""\s*(?P<keys>(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=(?P<value>.*)"""
)
_KEY = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_QUOTES = ('"""', "'''")
# What people write for what it is called here.
_ALIASES = {
    "build_command": "build", "build_cmd": "build", "install": "build", "run": "start",
    "start_command": "start", "command": "start", "cmd": "start", "web": "start",
    "release_command": "release", "pre_deploy": "release", "healthcheck": "health_path",
    "health": "health_path", "health_check": "health_path", "healthcheck_path": "health_path",
    "root_directory": "root", "root_dir": "root", "directory": "root", "path": "root",
    "environment": "env", "variables": "env", "vars": "env", "cron": "crons", "jobs": "crons",
    "regions": "region", "output": "site", "publish": "site", "output_directory": "site",
    "instances": "scaling", "replicas": "scaling", "min_instances": "min", "max_instances": "max",
}  # fmt: skip


def find(text: str, path: Path) -> tuple[int, int]:
    """Line and column, from 1, of the key at `path`, or of the nearest one above it."""
    best, place = 0, (1, 1)
    for where, line, column in _keys(text):
        depth = len(where)
        if best < depth <= len(path) and where == path[:depth]:
            best, place = depth, (line, column)
    return place


def end(text: str) -> tuple[int, int]:
    """Line and column of the end."""
    lines = text.split("\n")
    return len(lines), len(lines[-1]) + 1


def shown(path: Path) -> str:
    """The path as people write it, such as `crons[0].name`."""
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name[:200]


def suggestion(key: str, known: Sequence[str]) -> str:
    """What was probably meant by `key`, and otherwise what there is."""
    alias = _ALIASES.get(key.lower())
    near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    meant = alias if alias in known else next(iter(near), None)
    return f"; did you mean {meant}?" if meant else f"; known are {', '.join(sorted(known))}"


def _keys(text: str) -> Iterator[tuple[Path, int, int]]:
    """Every key on a line of its own, with its place; headers count as keys."""
    table: Path = ()
    counts: dict[Path, int] = {}
    inside: str | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        if inside is not None:
            inside = None if inside in line else inside
            continue
        column = len(line) - len(line.lstrip()) + 1
        if match := _HEADER.fullmatch(line.rstrip("\r")):
            table = _split(match["keys"])
            if match["open"] == "[[":
                counts[table] = counts.get(table, -1) + 1
                yield table, number, column
                table = (*table, counts[table])
            yield table, number, column
        elif match := _KEYS.match(line):
            yield (*table, *_split(match["keys"])), number, column
            inside = next((q for q in _QUOTES if match["value"].count(q) == 1), None)


def _split(keys: str) -> Path:
    return tuple(key.strip("\"'") for key in _KEY.findall(keys))
