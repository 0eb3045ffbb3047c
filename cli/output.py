"""What commands print: data on stdout (a table, or JSON with --json), the rest on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from zeitwork import clock

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False)

_STYLES = {
    "active": "green", "ready": "green", "succeeded": "green",
    "failed": "red", "lost": "red", "suspect": "yellow",
    "building": "cyan", "deploying": "cyan", "running": "cyan", "starting": "cyan",
    "queued": "yellow", "pending": "yellow", "draining": "yellow",
}  # fmt: skip


def emit_json(value: Any) -> None:
    """One JSON document on one line, for scripts."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Columns that fit the terminal; `empty` says what to do when there are no rows."""
    if not rows:
        err.print(empty)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*row)
    out.print(shown)


def facts(pairs: Mapping[str, str | None]) -> None:
    """Name and value, a line each; absent ones are left out."""
    width = max(len(name) for name in pairs)
    for name, value in pairs.items():
        if value is not None:
            out.print(f"[bold]{name.ljust(width)}[/bold]  {value}")


def state(value: str) -> str:
    """A state in its colour; the word itself says it too."""
    style = _STYLES.get(value)
    return f"[{style}]{value}[/{style}]" if style else value


def age(moment: str | None) -> str:
    """How long ago, for people."""
    if moment is None:
        return "-"
    seconds = (clock.now() - datetime.fromisoformat(moment)).total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit} ago"
    return f"{max(0, int(seconds))}s ago"


@contextmanager
def progress(text: str) -> Iterator[Any]:
    """A spinner on stderr while something takes time; a plain line where there is no terminal."""
    if err.is_terminal:
        with err.status(text) as status:
            yield status
    else:
        err.print(text)
        yield _Plain()


class _Plain:
    """Stands in for the spinner: prints each new text once."""

    def __init__(self) -> None:
        self._last = ""

    def update(self, text: str) -> None:
        if text != self._last:
            err.print(text)
            self._last = text
