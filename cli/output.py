"""What commands print: data on stdout (a table, or JSON with --json), the rest on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from zeitwork import clock

# Wide enough for every table, so that lines in a pipe are whole.
_PIPE_COLUMNS = 1000
# What a repository or an application prints reaches a person's terminal: colours pass, what moves
# the cursor, sets titles or talks to the terminal does not.
_SEQUENCE = re.compile(r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)?|\[[0-?]*[ -/]*[@-~]|[ -/]*[0-~])")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[0-9;]*m)")


class _Console(Console):
    """Leaves it to cli/main.py what a reader who went away means."""

    @override
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


out = _Console(highlight=False, soft_wrap=True)
err = _Console(stderr=True, highlight=False)
notes = _Console(stderr=True, highlight=False)  # progress and hints, for people only
pages = _Console(highlight=False)  # help, which is broken at words

_STEP = 1024
_STYLES = {
    "active": "green", "ready": "green", "succeeded": "green",
    "failed": "red", "lost": "red", "suspect": "yellow",
    "building": "cyan", "deploying": "cyan", "running": "cyan", "starting": "cyan",
    "open": "yellow", "queued": "yellow", "pending": "yellow", "draining": "yellow",
}  # fmt: skip


def emit_json(value: Any) -> None:
    """One JSON document on one line, for scripts."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


def text(value: str) -> Text:
    """Foreign text as it is, without what would act on the terminal."""
    harmless = _SEQUENCE.sub(lambda match: match[0] if _COLOUR.fullmatch(match[0]) else "", value)
    return Text.from_ansi(_CONTROL.sub("", harmless))


def line(value: str) -> None:
    """One line of foreign text."""
    out.print(text(value))


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, empty: str) -> None:
    """Columns that fit the terminal; `empty` says what to do when there are no rows."""
    if not rows:
        notes.print(empty)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(_shown(cell) for cell in row))
    whole = out if out.is_terminal else _Console(highlight=False, width=_PIPE_COLUMNS)
    whole.print(shown)


def facts(pairs: Mapping[str, str | Text | None]) -> None:
    """Name and value, a line each; absent ones are left out."""
    width = max(len(name) for name in pairs)
    for name, value in pairs.items():
        if value is not None:
            out.print(Text.assemble((name.ljust(width), "bold"), "  ", _shown(value)))


def state(value: str) -> Text:
    """A state in its colour; the word itself says it too."""
    return Text(value, _STYLES.get(value, ""))


def age(moment: str | None) -> str:
    """How long ago, for people."""
    if moment is None:
        return "-"
    seconds = (clock.now() - datetime.fromisoformat(moment)).total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit} ago"
    return f"{max(0, int(seconds))}s ago"


def size(count: int) -> str:
    """Bytes for people, in binary units."""
    if count < _STEP:
        return f"{count} B"
    amount = count / _STEP
    for unit in ("KiB", "MiB"):
        if amount < _STEP:
            return f"{amount:.1f} {unit}"
        amount /= _STEP
    return f"{amount:.1f} GiB"


def until(moment: str) -> str:
    """How long from now, for people."""
    seconds = (datetime.fromisoformat(moment) - clock.now()).total_seconds()
    if seconds < 1:
        return "now"
    for unit, length in (("h", 3_600), ("m", 60)):
        if seconds >= 1.5 * length:
            return f"in {round(seconds / length)}{unit}"
    return f"in {round(seconds)}s"


@contextmanager
def progress(text: str) -> Iterator[Any]:
    """A spinner on stderr while something takes time; a plain line where there is no terminal."""
    if notes.is_terminal:
        with notes.status(text) as status:
            yield status
    else:
        notes.print(text)
        yield _Plain()


def _shown(value: str | Text) -> Text:
    return text(value) if isinstance(value, str) else value


class _Plain:
    """Stands in for the spinner: prints each new text once."""

    def __init__(self) -> None:
        self._last = ""

    def update(self, text: str) -> None:
        if text != self._last:
            notes.print(text)
            self._last = text
