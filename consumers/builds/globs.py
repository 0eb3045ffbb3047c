"""Shell patterns with `**`, matched in time that grows with the path and no faster. Pure.

Regular expressions would take exponential time on patterns that a hostile repository can write
(`*a*a*a*a*b`). Here all places where a match may stand are followed at once, as bits of a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_Accepts = Callable[[str], bool]


class Pattern:
    """Go's `filepath.Match`, and `**` for any number of folders; compiled once.

    Raises:
        ValueError: it is not a pattern.
    """

    def __init__(self, text: str) -> None:
        self._steps: list[_Accepts] = []
        self._stays = 0  # places that any character but a slash leaves as they are
        self._stays_at_slash = 0
        self._skips = 0  # places before a `**/`, which may be nothing
        at = 0
        while at < len(text):
            at = self._add(text, at)
        self._advances = lru_cache(maxsize=512)(self._advancing)
        self._end = 1 << len(self._steps)
        self._start = self._reachable(1)

    def matches(self, path: str) -> bool:
        """Whether all of the path is matched."""
        places = self._start
        for character in path:
            stays = self._stays_at_slash if character == "/" else self._stays
            moved = (places & self._advances(character)) << 1
            places = self._reachable(moved | (places & stays))
            if not places:
                return False
        return bool(places & self._end)

    def _add(self, text: str, at: int) -> int:
        """Take one element of the pattern; where the next begins."""
        if text.startswith("**/", at):
            while text.startswith("**/", at):
                at += 3
            self._skips |= 1 << len(self._steps)
            self._steps.append(_never)
            self._star(deep=True)
            self._steps.append("/".__eq__)
        elif text[at] == "*":
            deep = text.startswith("**", at)
            while at < len(text) and text[at] == "*":
                at += 1
            self._star(deep=deep)
        else:
            step, at = _single(text, at)
            self._steps.append(step)
        return at

    def _star(self, *, deep: bool) -> None:
        bit = 1 << len(self._steps)
        self._stays |= bit
        self._stays_at_slash |= bit if deep else 0
        self._steps.append(_never)

    def _advancing(self, character: str) -> int:
        return sum(1 << at for at, step in enumerate(self._steps) if step(character))

    def _reachable(self, places: int) -> int:
        """With those that nothing more has to be read for."""
        while True:
            more = places | ((places & (self._stays | self._skips)) << 1)
            more |= (places & self._skips) << 3
            if more == places:
                return places
            places = more


def _never(_character: str) -> bool:
    return False


def _single(text: str, at: int) -> tuple[_Accepts, int]:
    """What one character must be, and where the next element begins."""
    match text[at]:
        case "?":
            return "/".__ne__, at + 1
        case "\\":
            if at + 1 == len(text):
                raise ValueError("a backslash at the end")
            return text[at + 1].__eq__, at + 2
        case "[":
            end = text.find("]", at + 2)
            if end < 0:
                raise ValueError("a class without end")
            return _class(text[at + 1 : end]), end + 1
        case other:
            return other.__eq__, at + 1


def _class(inner: str) -> _Accepts:
    negated = inner.startswith(("^", "!"))
    escaped = re.sub(r"([\[\]&~|])", r"\\\1", inner[1:] if negated else inner)
    try:
        expression = re.compile(f"[{'^/' if negated else ''}{escaped}]", re.DOTALL)
    except re.error as error:
        raise ValueError(str(error)) from error
    return lambda character: expression.fullmatch(character) is not None
