"""Reads .env files: `NAME=value` lines, quotes, comments; pure.

Values in single quotes are taken as they are, also over several lines. In double quotes a backslash
before n, r and t makes a line end, a carriage return and a tab, and before anything else it is left
out. Nothing is expanded.
"""

from __future__ import annotations

import re

from zeitwork.errors import InvalidInput

_START = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_SINGLE = re.compile(r"'(?P<text>[^']*)'[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_DOUBLE = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)', re.DOTALL)
_PLAIN = re.compile(r"(?P<text>[^\n]*?)(?:[ \t]+#[^\n]*)?\r?(?:\n|\Z)")
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?\r?(?:\n|\Z)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse(text: str) -> dict[str, str]:
    """Values by name; of two with one name the later counts.

    Raises:
        InvalidInput: a line is none of these; the message has its number, never its text.
    """
    text = text.removeprefix("\ufeff")
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        blank = _BLANK.match(text, at)
        if blank is not None:
            at = blank.end()
            continue
        start = _START.match(text, at)
        value = _value(text, start.end()) if start is not None else None
        if start is None or value is None:
            line = text.count("\n", 0, at) + 1
            raise InvalidInput(
                f"Line {line} is not NAME=value, or a quote in it is not closed. Mend it; comments "
                "begin with #."
            )
        found[start["name"]], at = value
    return found


def _value(text: str, at: int) -> tuple[str, int] | None:
    """The value that begins there, and where the next line does."""
    quote = text[at : at + 1]
    form = {"'": _SINGLE, '"': _DOUBLE}.get(quote, _PLAIN)
    match = form.match(text, at)
    if match is None:
        return None
    said = match["text"]
    if form is _DOUBLE:
        said = _ESCAPE.sub(lambda each: _ESCAPES.get(each[1], each[1]), said)
    elif form is _PLAIN:
        said = "" if said.startswith("#") else said.rstrip(" \t\r")
    return said, match.end()
